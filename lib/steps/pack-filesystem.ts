import { stat } from 'node:fs/promises';
import { basename, dirname, resolve } from 'node:path';
import { z } from 'zod';
import { runOnMergedTree } from '../filesystem/merged-tree.ts';
import {
  DEFAULT_COMPRESSION,
  PACKED_FILESYSTEMS,
  PACKED_LABEL_BYTES,
  PACKERS,
  type PackedFacts,
  type PackedFilesystem,
  packArgs,
  problemWithCompression,
  readPacked,
  SQUASHFS_TIMES,
  setErofsLabel,
} from '../filesystem/packed-filesystem.ts';
import { walkTree } from '../filesystem/tree.ts';
import { refuseInside, requireDirectory, requireReplaceable } from '../host-files/given-paths.ts';
import { replaceFile } from '../host-files/private-output.ts';
import { defineStep, type Step } from '../run/define-step.ts';
import { InvalidOptionsError } from '../run/errors.ts';
import { commandFailure } from '../run/step.ts';
import { requireTool } from '../run/tools.ts';
import { closureSource, filesystemLabel, guid, path, timestamp, treeOwners } from '../spec/fields.ts';

const STEP = 'packFilesystem';

/** In bytes. */
const LONGEST_NAME = 255;

/** The messages of mkfs.erofs and mksquashfs about a compression that they do not have. */
const NOT_BUILT_IN = /Cannot find a valid compressor|Compressor ".*" is not supported/;

const schema = z.object({
  /** The file for the filesystem; an existing one is replaced. */
  file: path,
  fsType: z.enum(PACKED_FILESYSTEMS),
  /** "none"; for erofs "lz4", "lz4hc", "lzma", "deflate" or "zstd", for squashfs "gzip", "lz4", "lzo", "xz" or "zstd", if the host's program was
   *  built with it. Default: "lz4hc" for erofs, "zstd" for squashfs. */
  compression: z.string().optional(),
  /** Default: that of the program. */
  compressionLevel: z.int().optional(),
  /** At most 16 bytes; only for erofs. */
  label: filesystemLabel.optional(),
  /** Only for erofs; default: random. */
  uuid: guid.optional(),
  /** A directory whose contents are written into the filesystem; root owns every file there. */
  populateFrom: path.optional(),
  /** Store paths that are written as well, directly from their store. */
  closure: closureSource.optional(),
  /** Paths that root does not own; each includes everything below it. */
  owners: treeOwners.default([]),
  /** Seconds since 1970 for all times in the filesystem; default: files keep their modification times. */
  timestamp: timestamp.optional(),
});

export interface PackFilesystemOptions extends z.input<typeof schema> {}

export interface PackedFile extends PackedFacts {
  readonly file: string;
  readonly fsType: PackedFilesystem;
  /** The size of the file, and the least of a partition for it. */
  readonly sizeBytes: number;
}

/** Makes a filesystem that is only read, erofs or squashfs, in a file: exactly as large as its compressed files need.
 *  `copyToPartition` puts it into a partition of that size or more. Hard links are kept; extended attributes are not copied.
 *  @throws {CommandFailedError} when the host's program does not have the compression.
 *  @throws {NoSpaceError} when the host's disk is full; an existing file stays unchanged.
 *  @see mkfs.erofs(1), mksquashfs(1). Runs: cp, fakeroot, find, flock, mkfs.erofs, mksquashfs, unshare. */
export const packFilesystem: Step<PackFilesystemOptions, PackedFile> = defineStep({
  name: STEP,
  options: schema,
  rules: [
    ({ fsType, compression, compressionLevel }) => {
      if (fsType === undefined) return [];
      const wrong = problemWithCompression(fsType, compression ?? DEFAULT_COMPRESSION[fsType], compressionLevel);
      return wrong === undefined ? [] : [{ path: wrong.option, message: wrong.message }];
    },
    ({ fsType, label, uuid }) => {
      if (fsType === 'squashfs')
        return Object.entries({ label, uuid }).flatMap(([option, given]) =>
          given === undefined ? [] : [{ path: option, message: 'a squashfs has none' }],
        );
      const most = PACKED_LABEL_BYTES.erofs;
      return Buffer.byteLength(label ?? '') > most
        ? [{ path: 'label', message: `is longer than the ${most} bytes of erofs's label` }]
        : [];
    },
    ({ populateFrom, closure }) =>
      populateFrom === undefined && closure === undefined
        ? [{ path: 'populateFrom', message: 'is required without closure: such a filesystem cannot be filled later' }]
        : [],
  ],
  runs: [...Object.values(PACKERS).flat(), 'flock'],
  where: 'host',
  async prepare({ file, fsType, populateFrom }, { executor }) {
    await requireReplaceable(STEP, file, 'file');
    if (populateFrom !== undefined) {
      await requireDirectory(STEP, populateFrom, 'populateFrom');
      await refuseInside(STEP, populateFrom, dirname(resolve(file)), 'populateFrom');
    }
    if (executor.searchPath !== undefined) for (const program of PACKERS[fsType]) await requireTool(STEP, program);
  },
  detail: ({ fsType, populateFrom }) => (populateFrom === undefined ? fsType : `${fsType} of ${populateFrom}`),
  async run(step, { file, label, closure, owners, ...options }) {
    const { fsType, compression = DEFAULT_COMPRESSION[fsType], compressionLevel, uuid, timestamp: time } = options;
    const root = options.populateFrom === undefined ? undefined : resolve(options.populateFrom);
    const source = { root, closure, owners, timestamp: time };
    // The programs skip sockets or copy devices: walkTree refuses them by name.
    let longName: string | undefined;
    for (const { path: at, mtime } of walkTree(step, source)) {
      if (basename(at).length === LONGEST_NAME) longName = at;
      if (fsType === 'squashfs' && (mtime < SQUASHFS_TIMES.least || mtime > SQUASHFS_TIMES.most))
        throw new InvalidOptionsError(STEP, [
          {
            path: 'fsType',
            message: `"squashfs" cannot store the time of /${at}, ${new Date(mtime * 1000).toISOString()}`,
          },
        ]);
    }
    const target = resolve(file);
    await replaceFile(target, async (partial) => {
      const made = await runOnMergedTree(step, source, partial, (merged) =>
        packArgs({ fsType, compression, compressionLevel, uuid, timestamp: time }, merged, partial),
      );
      const said = `${made.stdout}${made.stderr}`;
      if (made.exitCode !== 0 && NOT_BUILT_IN.test(said))
        throw new InvalidOptionsError(STEP, [
          { path: 'compression', message: `"${compression}" is not built into the host's ${PACKERS[fsType][0]}` },
        ]);
      if (made.exitCode !== 0)
        throw commandFailure(STEP, step.executor, made, {
          what: `cannot make the ${fsType} ${file}`,
          ...(longName !== undefined && /No such file or directory/.test(said)
            ? { hint: `some versions of mkfs.erofs cannot write names of ${LONGEST_NAME} bytes: /${longName}` }
            : {}),
        });
      if (label !== undefined) await setErofsLabel(partial, label);
    });
    const { size: sizeBytes } = await stat(target);
    step.measured(sizeBytes);
    return { file, fsType, sizeBytes, ...(await readPacked(STEP, fsType, target)) };
  },
});
