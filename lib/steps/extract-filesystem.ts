import { open } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { pauses } from '../filesystem/data-runs.ts';
import { openExt4 } from '../filesystem/ext4/open.ts';
import type { Ext4Node, Ext4Volume } from '../filesystem/ext4/volume.ts';
import { mtoolsName, readWholeFat } from '../filesystem/fat.ts';
import { listTree, type TreeEntry, type TreeEntryType } from '../filesystem/tree.ts';
import type { Ext4FileType } from '../formats/ext4/inode.ts';
import { makeDirectories, requireDisk } from '../host-files/given-paths.ts';
import { defineStep, type Step, type WithOldNames } from '../run/define-step.ts';
import { UnexpectedStateError } from '../run/errors.ts';
import type { StepRunner } from '../run/step.ts';
import { partitionExtent, path } from '../spec/fields.ts';
import { MIB } from '../units.ts';

const STEP = 'extractFilesystem';

const schema = z.object({
  /** A raw disk image; its filesystem is not mounted. */
  image: path,
  /** Bytes. */
  partition: partitionExtent,
  fsType: z.enum(['ext4', 'vfat']),
  /** An empty or new directory for the files' contents. */
  directory: path,
  /** Absolute paths that are omitted, with everything below them. */
  leaveOut: z.array(z.string()).readonly().default([]),
});

const OLD_NAMES = { folder: 'directory' } as const;

export type ExtractFilesystemOptions = WithOldNames<z.input<typeof schema>, typeof OLD_NAMES>;

/** Extracts all files of a filesystem in an image, without root. Returns every entry with its mode, owner and extended
 *  attributes, and writes the content to files on this host. makeFilesystem accepts the result as `files`.
 *  @throws {UnexpectedStateError} for devices and sockets. Runs: flock, mcopy. */
export const extractFilesystem: Step<ExtractFilesystemOptions, TreeEntry[]> = defineStep({
  name: STEP,
  options: schema,
  oldNames: OLD_NAMES,
  runs: ['mcopy', 'flock'],
  where: 'host',
  async prepare({ image, partition }) {
    await requireDisk(STEP, image, [partition]);
  },
  detail: ({ fsType }) => fsType,
  async run(step, parsed) {
    const leaveOut = new Set(parsed.leaveOut.map((name) => bytesOf(name.replace(/^\/+|\/+$/g, ''))));
    // Looks up each parent, because comparing every file with every omitted path would be slow.
    const isKept = (name: string): boolean => {
      for (let at = name; at !== ''; at = at.slice(0, Math.max(0, at.lastIndexOf('/'))))
        if (leaveOut.has(at)) return false;
      return true;
    };
    await makeDirectories(parsed.directory);
    const entries = parsed.fsType === 'ext4' ? await extractExt4(step, parsed, isKept) : await extractFat(step, parsed);
    return entries.filter(({ path: name }) => isKept(name));
  },
});

type Parsed = z.output<typeof schema>;

/** A name in the form of entries' names: its bytes, decoded as latin1. */
function bytesOf(name: string): string {
  return Buffer.from(name, 'utf8').toString('latin1');
}

async function extractFat(step: StepRunner, { image, partition, directory }: Parsed): Promise<TreeEntry[]> {
  await using fat = await mtoolsName({ image, ...partition });
  await readWholeFat(step, ['mcopy', '-s', '-n', '-m', '-i', fat.name, '::/*', resolve(directory)], fat.cwd);
  return listTree(step, { root: directory });
}

/** How many bytes of a file are read at once. */
const CHUNK_BYTES = MIB;

const TYPES: Partial<Readonly<Record<Ext4FileType, TreeEntryType>>> = {
  regular: 'file',
  directory: 'directory',
  symlink: 'symlink',
  FIFO: 'fifo',
};

async function extractExt4(
  step: StepRunner,
  { image, partition, directory }: Parsed,
  isKept: (name: string) => boolean,
): Promise<TreeEntry[]> {
  await using disk = await open(image, 'r');
  const volume = await openExt4(disk, partition);
  if (typeof volume === 'string')
    throw new UnexpectedStateError(STEP, `the filesystem of ${image} cannot be read`, {
      expected: 'an ext4',
      found: `one that ${volume}`,
    });
  const entries: TreeEntry[] = [];
  /** Maps an inode to the file on this host with its content. */
  const contents = new Map<number, string>();
  const pause = pauses(step);
  const damaged = (what: string): never => {
    throw new UnexpectedStateError(STEP, `the filesystem of ${image} cannot be read: ${what}`);
  };
  for await (const { path: name, node } of volume.tree(damaged)) {
    await pause();
    if (!isKept(name)) continue;
    const type = TYPES[node.type];
    if (type === undefined)
      throw new UnexpectedStateError(STEP, `/${name} is a ${node.type}`, {
        expected: 'a file, a directory, a symbolic link or a FIFO',
      });
    let source = contents.get(node.inode) ?? '';
    if (type === 'file' && source === '') {
      source = join(resolve(directory), `${contents.size}`);
      contents.set(node.inode, source);
      await copyOut(volume, node, source).catch((cause: unknown) => {
        if (cause instanceof RangeError) damaged(cause.message);
        throw cause;
      });
    }
    const attributes = await volume.attributes(node);
    entries.push({
      ...{ path: name, type, mode: node.mode, uid: node.uid, gid: node.gid, sizeBytes: node.sizeBytes },
      mtime: Number(node.times.mtime / 1_000_000_000n),
      target: type === 'symlink' ? await volume.linkTarget(node) : '',
      source: bytesOf(source),
      hardLink: node.links > 1 && type === 'file' ? source : undefined,
      attributes: attributes.length === 0 ? undefined : attributes,
    });
  }
  return entries;
}

async function copyOut(volume: Ext4Volume, node: Ext4Node, target: string): Promise<void> {
  await using file = await open(target, 'wx');
  await file.truncate(node.sizeBytes);
  for await (const { at, bytes } of volume.content(node, CHUNK_BYTES)) await file.write(bytes, 0, bytes.length, at);
}
