import { stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { z } from 'zod';
import { makeBtrfs, readBtrfs } from '../filesystem/btrfs.ts';
import { FilesystemFullError } from '../filesystem/ext4/allocator.ts';
import { fillExt4 } from '../filesystem/ext4/fill.ts';
import { readExt4Superblock } from '../filesystem/ext4/open.ts';
import { makeF2fs, readF2fs } from '../filesystem/f2fs.ts';
import {
  ROOT_FILESYSTEMS,
  type RootFilesystem,
  requireFilesystemTools,
  TOOLS_OF,
} from '../filesystem/root-filesystem.ts';
import { spliceSparse } from '../filesystem/splice.ts';
import { problemWithVersion } from '../filesystem/subvolumes.ts';
import { type TreeEntry, walkTree } from '../filesystem/tree.ts';
import { makeXfs, readXfs } from '../filesystem/xfs.ts';
import { BLOCK_BYTES } from '../formats/ext4/layout.ts';
import { refuseInside, requireDirectory, requireDisk } from '../host-files/given-paths.ts';
import { makePrivateDirectory } from '../host-files/private-output.ts';
import { freeBytes, hostHasNoRoom } from '../host-files/room.ts';
import { makeSparseFile } from '../host-files/sparse-file.ts';
import { defineStep, type Step, type WithOldNames } from '../run/define-step.ts';
import { isErrno } from '../run/errno.ts';
import { ImageTooSmallError, InvalidOptionsError, NoSpaceError, UnexpectedStateError } from '../run/errors.ts';
import type { Executor, RunResult } from '../run/executor.ts';
import { localExecutor } from '../run/local-executor.ts';
import { commandFailure, type StepRunner } from '../run/step.ts';
import {
  closureSource,
  filesystemLabel,
  guid,
  partitionExtent,
  path,
  sectorSize,
  timestamp,
  treeAttributes,
  treeEntries,
  treeOwners,
} from '../spec/fields.ts';
import { problemsWithSubvolumes, subvolumes } from '../spec/subvolumes.ts';
import { KIB, MIB, SECTOR_BYTES } from '../units.ts';
import { sumDiskSize, treeUsage } from './compute-disk-size.ts';

const STEP = 'makeFilesystem';

const inodes = z.int().positive().max(0xffff_ffff);

const schema = z.object({
  /** A raw disk image. */
  image: path,
  /** The partition for the filesystem, as partitionDisk returns it, with the size of the disk's sectors. Bytes. */
  partition: partitionExtent.extend({ sectorBytes: sectorSize.default(SECTOR_BYTES) }),
  /** Default "ext4". */
  fsType: z.enum(ROOT_FILESYSTEMS).default('ext4'),
  /** Printable ASCII, at most 16 bytes for ext4 and 12 for xfs; default "nixos". */
  label: filesystemLabel.default('nixos'),
  /** Default: random. */
  uuid: guid.optional(),
  /** The directory hash seed; default: random. */
  hashSeed: guid.optional(),
  /** The result of computeDiskSize, for the number of inodes and the amount of data. */
  size: z.object({ inodeCount: inodes, dataBlocks: z.int().min(0).optional() }).optional(),
  /** The number of inodes, instead of `size`; default: one for each 16 KiB. */
  inodeCount: inodes.optional(),
  /** A directory whose contents are written into the filesystem; root owns every file there. */
  populateFrom: path.optional(),
  /** Store paths that are written as well, directly from their store. */
  closure: closureSource.optional(),
  /** Entries that are written into an ext4 with their own modes and owners, as extractFilesystem and listClosureFiles
   *  return them. */
  files: treeEntries.optional(),
  /** Paths that root does not own; each includes everything below it. */
  owners: treeOwners.default([]),
  /** Subvolumes of a btrfs: each at a path from its top level, with the files of a `directory` of the tree, in which an empty
   *  directory stays to mount it on. */
  subvolumes: subvolumes.default([]),
  /** Extended attributes, only for ext4, as stageContents returns them. */
  attributes: treeAttributes.default([]),
  /** Seconds since 1970 for all times in the filesystem; default: files keep their modification times, other times are
   *  now. */
  timestamp: timestamp.optional(),
});

const OLD_NAMES = { entries: 'files' } as const;

export type MakeFilesystemOptions = WithOldNames<z.input<typeof schema>, typeof OLD_NAMES>;

export interface MadeFilesystem {
  readonly fsType: RootFilesystem;
  /** Lower case, read back from the superblock. */
  readonly uuid: string;
  readonly label: string;
  readonly sizeBytes: number;
  /** Undefined for f2fs, whose superblock does not contain it. */
  readonly freeBytes: number | undefined;
  /** Only for ext4: the other filesystems allocate inodes dynamically. */
  readonly inodeCount: number | undefined;
  readonly freeInodes: number | undefined;
}

/** The features of an ext4, independent of mke2fs.conf and of the version of e2fsprogs. GRUB 2.06 and Linux 4.19
 *  support them.
 *  @see ext4(5) */
const EXT4_FEATURES = [
  ...['has_journal', 'ext_attr', 'resize_inode', 'dir_index', 'filetype', 'extent', '64bit', 'flex_bg'],
  ...['sparse_super', 'large_file', 'huge_file', 'dir_nlink', 'extra_isize', 'metadata_csum'],
];

/** Arguments of mkfs.ext4: the offset in bytes, the size in KiB. All extended options are in one -E, because only the
 *  last -E counts. */
export function makeFilesystemArgs(options: MakeFilesystemOptions): string[] {
  const { partition, label = 'nixos', uuid, hashSeed, inodeCount } = options;
  // mke2fs discards the range first, so that parts that it does not write (inode tables, journal) are zero and sparse.
  const extended = [
    `offset=${partition.offsetBytes}`,
    'lazy_journal_init=1',
    ...(hashSeed === undefined ? [] : [`hash_seed=${hashSeed}`]),
  ];
  return [
    'mkfs.ext4',
    '-q',
    '-F',
    ...['-O', ['none', ...EXT4_FEATURES].join(',')],
    ...['-b', '4096', '-I', '256', '-L', label],
    ...(uuid === undefined ? [] : ['-U', uuid]),
    ...(inodeCount === undefined ? [] : ['-N', `${inodeCount}`]),
    ...['-E', extended.join(',')],
    `./${basename(options.image)}`,
    `${Math.floor(partition.sizeBytes / KIB)}K`,
  ];
}

/** Makes a filesystem in `partition` of `image`, overwriting its content, and fills it.
 *
 *  ext4 is made at its offset and filled file by file, directly from the sources. Root owns every file unless specified
 *  otherwise, and hard links and holes are kept, also when it does not run as root. Other filesystems, whose tools do
 *  not support an offset, are made in a sparse file beside the image, whose data is then copied into the image.
 *  @returns UUID, label, size and inodes, read back from the superblock.
 *  @throws {ImageTooSmallError} when the tree does not fit: bytes and inodes needed and available.
 *  @throws {InvalidOptionsError} for options that the tools of the filesystem do not support.
 *  @throws {UnexpectedStateError} when the number of used inodes in an ext4 differs from that of the tree.
 *  @see mke2fs(8) — -E offset is in bytes, the size argument in KiB. Runs: btrfs, cp, fakeroot, filefrag, find,
 *  flock, mkfs.btrfs, mkfs.ext4, mkfs.f2fs, mkfs.xfs, sload.f2fs, unshare, xfs_db, xfs_repair. */
export const makeFilesystem: Step<MakeFilesystemOptions, MadeFilesystem> = defineStep({
  name: STEP,
  options: schema,
  rules: [
    ({ fsType, partition }) =>
      fsType === 'f2fs' && partition?.sectorBytes === 4096
        ? [{ path: 'fsType', message: '"f2fs" is not supported on a disk with sectors of 4096 bytes' }]
        : [],
    ({ size, inodeCount }) =>
      size !== undefined && inodeCount !== undefined
        ? [{ path: 'inodeCount', message: 'contradicts size, which contains an inodeCount as well' }]
        : [],
    ({ fsType = 'ext4', subvolumes: given = [] }) =>
      fsType !== 'btrfs' && given.length > 0
        ? [{ path: 'subvolumes', message: `"${fsType}" has none; they are supported for btrfs` }]
        : [],
    ({ subvolumes: given = [] }) =>
      problemsWithSubvolumes(given.map(({ path, directory }) => ({ path, at: directory }))).map(
        ({ index, field, message }) => ({
          path: `subvolumes[${index}].${field === 'at' ? 'directory' : 'path'}`,
          message,
        }),
      ),
  ],
  oldNames: OLD_NAMES,
  runs: [...Object.values(TOOLS_OF).flat(), 'flock'],
  where: 'anywhere',
  async prepare(parsed, { executor, onHost }) {
    const { populateFrom } = parsed;
    if (executor.searchPath !== undefined) await requireFilesystemTools(STEP, parsed.fsType);
    if (onHost) await requireDisk(STEP, parsed.image, [parsed.partition]);
    if (populateFrom !== undefined && onHost) {
      await requireDirectory(STEP, populateFrom, 'populateFrom');
      await refuseInside(STEP, populateFrom, dirname(resolve(parsed.image)), 'populateFrom');
    }
    const [attribute] = parsed.attributes;
    if (parsed.fsType !== 'ext4' && attribute !== undefined)
      throw new InvalidOptionsError(STEP, [
        {
          path: 'attributes',
          message: `${attribute.target} has the extended attribute ${attribute.name}; attributes are supported only for ext4, not for ${parsed.fsType}`,
        },
      ]);
    if (isFilled(parsed) && !onHost)
      throw new InvalidOptionsError(STEP, [
        {
          path: 'executor',
          message: `${executor.name} does not see the files of this host to fill the filesystem with; use this host, or a container`,
        },
      ]);
  },
  detail: ({ populateFrom, fsType }) => populateFrom ?? fsType,
  async run(step, given) {
    // Absolute, because mkfs runs in the image's directory, and find treats a name with a leading dash as an option.
    const populateFrom = given.populateFrom === undefined ? undefined : resolve(given.populateFrom);
    const parsed = { ...given, populateFrom, inodeCount: given.inodeCount ?? given.size?.inodeCount };
    if (parsed.subvolumes.length > 0) await requireSubvolumes(step.executor);
    const tree = isFilled(given) ? walkTree(step, { ...parsed, entries: parsed.files, root: populateFrom }) : undefined;
    const made = await (parsed.fsType === 'ext4' ? makeExt4(step, parsed, tree) : makeInFile(step, parsed, tree));
    if (made.freeBytes !== undefined) step.measured(made.sizeBytes - made.freeBytes);
    return made;
  },
});

type Parsed = z.output<typeof schema>;

function isFilled({ populateFrom, closure, files, subvolumes: made }: Parsed): boolean {
  return populateFrom !== undefined || closure !== undefined || files !== undefined || made.length > 0;
}

/** Requires a mkfs.btrfs that makes subvolumes. @throws {InvalidOptionsError} Runs: mkfs.btrfs. */
export async function requireSubvolumes(executor: Executor = localExecutor): Promise<void> {
  const problem = problemWithVersion(await executor.run(['mkfs.btrfs', '--version']));
  if (problem !== undefined)
    throw new InvalidOptionsError(STEP, [{ path: 'subvolumes', message: problem }], {
      hint: 'use a newer btrfs-progs; with --container, that of Debian 13 or later',
    });
}

async function makeExt4(
  step: StepRunner,
  parsed: Parsed,
  tree: Iterable<TreeEntry> | undefined,
): Promise<MadeFilesystem> {
  const made = await step.tryRun(makeFilesystemArgs(parsed), {
    answers: 'any',
    cwd: dirname(parsed.image),
    env: timeEnvironment(parsed.timestamp),
  });
  if (made.exitCode !== 0) throw await mkfsFailure(step, made, parsed, tree);
  const time = parsed.timestamp ?? Math.floor(Date.now() / 1000);
  const blocks = parsed.size?.dataBlocks;
  const totalBytes = blocks === undefined ? undefined : blocks * BLOCK_BYTES;
  const filled =
    tree === undefined
      ? undefined
      : await fillExt4(step, { image: parsed.image, ...parsed.partition }, tree, time, totalBytes).catch(
          async (error: unknown) => {
            if (error instanceof FilesystemFullError) throw await noSpace(step, tree, parsed, error);
            throw isHostFull(error) ? await hostIsFull(step, tree, parsed, error) : error;
          },
        );
  const superblock = await readExt4Superblock(STEP, parsed.image, parsed.partition.offsetBytes);
  const { uuid, label, sizeBytes, freeBytes, inodes: inodeCount, freeInodes } = superblock;
  if (filled !== undefined) checkInodes(filled.inodes, inodeCount - freeInodes);
  return { fsType: 'ext4', uuid, label, sizeBytes, freeBytes, inodeCount, freeInodes };
}

async function makeInFile(
  step: StepRunner,
  parsed: Parsed,
  walk: Iterable<TreeEntry> | undefined,
): Promise<MadeFilesystem> {
  const { fsType, image, partition } = parsed;
  await using work = await makePrivateDirectory(dirname(resolve(image)));
  const file = join(work.path, 'filesystem');
  await makeSparseFile(file, partition.sizeBytes);
  const source = walk === undefined ? undefined : { ...parsed, root: parsed.populateFrom };
  const tree = walk === undefined ? undefined : [...walk];
  const directories = [parsed.populateFrom, resolve(parsed.closure?.store ?? '/', 'nix/store')].filter(
    (at) => at !== undefined,
  );
  const made = await reportingGrowth(step, file, (parsed.size?.dataBlocks ?? 0) * BLOCK_BYTES, () => {
    if (fsType === 'xfs') return makeXfs(step, parsed, tree, directories, file);
    return fsType === 'btrfs' ? makeBtrfs(step, parsed, tree, source, file) : makeF2fs(step, parsed, source, file);
  });
  if (made.exitCode !== 0) throw await mkfsFailure(step, made, parsed, tree);
  const { size } = await stat(file);
  if (size > partition.sizeBytes)
    throw await noSpace(step, tree ?? [], parsed, new Error(`mkfs.${fsType} made a filesystem of ${size} bytes`));
  await spliceSparse(step, { file }, { image, offsetBytes: partition.offsetBytes }).catch(async (error: unknown) => {
    throw isHostFull(error) ? await hostIsFull(step, tree ?? [], parsed, error) : error;
  });
  const read = { btrfs: readBtrfs, xfs: readXfs, f2fs: readF2fs, ext4: undefined }[fsType];
  if (read === undefined) throw new RangeError(fsType);
  const facts = await read(STEP, image, partition.offsetBytes);
  return { fsType, ...facts, inodeCount: undefined, freeInodes: undefined };
}

const GROWTH_INTERVAL_MS = 500;

/** Reports what a program, which says nothing of its progress, has written into a sparse file. Like the events of other steps, an
 *  error of a listener is the step's. */
async function reportingGrowth<T>(
  step: StepRunner,
  file: string,
  totalBytes: number,
  write: () => Promise<T>,
): Promise<T> {
  const end = new AbortController();
  const reported = reportGrowth(step, file, totalBytes, end.signal);
  // It is awaited below, but may fail before.
  reported.catch(() => undefined);
  try {
    return await write();
  } finally {
    end.abort();
    await reported;
  }
}

async function reportGrowth(step: StepRunner, file: string, totalBytes: number, end: AbortSignal): Promise<void> {
  while (!end.aborted) {
    await setTimeout(GROWTH_INTERVAL_MS, undefined, { signal: end }).catch(() => undefined);
    const facts = await stat(file).catch(() => undefined);
    if (facts !== undefined && totalBytes > 0 && !end.aborted) step.progress(facts.blocks * SECTOR_BYTES, totalBytes);
  }
}

async function mkfsFailure(
  step: StepRunner,
  result: RunResult,
  parsed: Parsed,
  tree: Iterable<TreeEntry> | undefined,
): Promise<Error> {
  const failure = commandFailure(STEP, step.executor, result, {
    what: `cannot make the filesystem in ${parsed.image}`,
  });
  const output = `${result.stdout.toString('utf8')}\n${result.stderr.toString('utf8')}`;
  // "No space left on device" may mean that the new filesystem is too small, or that the host's disk is full.
  const hasNoRoom = (await freeBytes(dirname(resolve(parsed.image)))) < MIB;
  if (hasNoRoom && failure instanceof NoSpaceError && tree !== undefined)
    return hostIsFull(step, tree, parsed, failure);
  return tree !== undefined && tooSmall.test(output) ? await noSpace(step, tree, parsed, failure) : failure;
}

/** Messages of e2fsprogs, btrfs-progs, xfsprogs and f2fs-tools for a filesystem that is too small. */
const tooSmall =
  /not enough space|journal .* too big|too many inodes|inode_size .* too big|too small|no space left|insufficient|must be larger|can't (write|find) .*block|error .*allocat/i;

/** Sets the time for programs of e2fsprogs: SOURCE_DATE_EPOCH since 1.47.1, E2FSPROGS_FAKE_TIME before. */
function timeEnvironment(time: number | undefined): Record<string, string> {
  return time === undefined ? {} : { E2FSPROGS_FAKE_TIME: `${time}`, SOURCE_DATE_EPOCH: `${time}` };
}

/** Reserved inodes (1 to 10, including the root directory), and lost+found. */
const OWN_INODES = 11;

/** @throws {UnexpectedStateError} when the superblock's number of used inodes differs from what was written. */
function checkInodes(filled: number, usedInodes: number): void {
  const expected = OWN_INODES + filled;
  if (usedInodes !== expected)
    throw new UnexpectedStateError(STEP, 'the filesystem does not contain the whole tree', {
      expected: `${expected} inodes in use`,
      found: `${usedInodes}`,
    });
}

function isHostFull(error: unknown): boolean {
  return isErrno(error, 'ENOSPC') || isErrno(error, 'EDQUOT');
}

/** The error when the host's disk is full, not the image's filesystem: the bytes that remain to be written, and the
 *  free bytes. */
async function hostIsFull(
  step: StepRunner,
  tree: Iterable<TreeEntry>,
  { image }: Parsed,
  cause: unknown,
): Promise<NoSpaceError> {
  const directory = dirname(resolve(image));
  const { blocks } = await stat(image);
  const { hostBytes } = await treeUsage(step, tree);
  const neededBytes = hostBytes - blocks * SECTOR_BYTES;
  // Other partitions of the image have blocks as well; then the number is unknown.
  return hostHasNoRoom(STEP, directory, neededBytes > 0 ? neededBytes : undefined, { cause });
}

async function noSpace(
  step: StepRunner,
  tree: Iterable<TreeEntry>,
  options: Parsed,
  cause: Error,
): Promise<ImageTooSmallError> {
  const needed = sumDiskSize(await treeUsage(step, tree), 'none', 0, 0, options.fsType);
  return new ImageTooSmallError(
    STEP,
    `the filesystem of ${options.image}`,
    {
      neededBytes: needed.filesystemBytes,
      availableBytes: options.partition.sizeBytes,
      neededInodes: needed.inodes,
      availableInodes: options.inodeCount ?? Math.floor(options.partition.sizeBytes / (16 * KIB)),
    },
    {
      cause,
      detail: cause.message,
      hint: 'set a larger diskSize, or "auto", and use the inodeCount that computeDiskSize returns',
    },
  );
}
