import { stat } from 'node:fs/promises';
import { basename, dirname, resolve } from 'node:path';
import { z } from 'zod';
import { InvalidOptionsError, NoSpaceError, type ToolFailedError } from '../errors.ts';
import type { RunResult } from '../executor.ts';
import { ext4Location, listExt4Tree, readExt4Superblock } from '../ext4-image.ts';
import { extLabel, guid, partitionExtent, path } from '../spec/fields.ts';
import { parseOptions } from '../spec/parse-options.ts';
import { commandFailure, runStep, type StepContext, type StepRunner } from '../step.ts';
import { packageHint } from '../tools.ts';
import { KIB } from '../units.ts';
import { countTree, sumDiskSize } from './compute-disk-size.ts';

const STEP = 'makeFilesystem';

const schema = z.object({
  image: path,
  partition: partitionExtent,
  label: extLabel.default('nixos'),
  uuid: guid.optional(),
  hashSeed: guid.optional(),
  inodeCount: z.int().positive().max(0xffff_ffff).optional(),
  populateFrom: path.optional(),
});

export interface MakeFilesystemOptions {
  /** A raw disk image. */
  readonly image: string;
  /** Where the filesystem goes: a partition as partitionDisk returns it. Bytes. */
  readonly partition: { readonly offsetBytes: number; readonly sizeBytes: number };
  /** At most 16 bytes of ASCII; default "nixos". */
  readonly label?: string | undefined;
  /** Default: random. */
  readonly uuid?: string | undefined;
  /** The directory hash seed; default: random. */
  readonly hashSeed?: string | undefined;
  /** Inodes, as computeDiskSize returns them; default: one for each 16 KiB. */
  readonly inodeCount?: number | undefined;
  /** A folder whose contents fill the filesystem in the same pass, every file owned by root. */
  readonly populateFrom?: string | undefined;
}

export interface MadeFilesystem {
  /** Lower case, read back from the superblock. */
  readonly uuid: string;
  readonly label: string;
  readonly sizeBytes: number;
  readonly freeBytes: number;
  readonly inodeCount: number;
  readonly freeInodes: number;
}

/** Arguments of mkfs.ext4: the offset in bytes, the size in KiB. Several -E would leave only the last in force. */
export function makeFilesystemArgs(options: MakeFilesystemOptions): string[] {
  const { partition, label = 'nixos', uuid, hashSeed, inodeCount, populateFrom } = options;
  // mke2fs discards the range first, so that what it leaves out (inode tables, journal) reads as zeros, and stays sparse.
  const extended = [
    `offset=${partition.offsetBytes}`,
    'lazy_journal_init=1',
    ...(hashSeed === undefined ? [] : [`hash_seed=${hashSeed}`]),
  ];
  return [
    'mkfs.ext4',
    '-q',
    '-F',
    ...['-b', '4096', '-I', '256', '-L', label],
    ...(uuid === undefined ? [] : ['-U', uuid]),
    ...(inodeCount === undefined ? [] : ['-N', `${inodeCount}`]),
    ...['-E', extended.join(',')],
    ...(populateFrom === undefined ? [] : ['-d', populateFrom]),
    `./${basename(options.image)}`,
    `${Math.floor(partition.sizeBytes / KIB)}K`,
  ];
}

/** Makes an ext4 filesystem at `partition` inside `image`, destroying what was there.
 *  @returns UUID, label, size and inodes, read back from the superblock.
 *  @throws {NoSpaceError} when `populateFrom` does not fit: bytes and inodes needed and available.
 *  @see mke2fs(8) — -E offset is in bytes, the size argument in KiB. Runs: mkfs.ext4, dumpe2fs; with `populateFrom` also
 *  id, find and, for files that are not root's, unshare or debugfs. */
export async function makeFilesystem(options: MakeFilesystemOptions, context?: StepContext): Promise<MadeFilesystem> {
  const given = parseOptions(STEP, schema, options);
  // Absolute: mkfs runs in the image's folder, and find takes a name that begins with a dash for an option.
  const parsed = { ...given, populateFrom: given.populateFrom === undefined ? undefined : resolve(given.populateFrom) };
  if (context?.executor === undefined) await checkFits(parsed.image, parsed.partition);
  return runStep(STEP, context, parsed.populateFrom, async (step) => {
    const location = ext4Location(STEP, parsed.image, parsed.partition.offsetBytes);
    const asRoot = parsed.populateFrom === undefined ? [] : await mapToRoot(step);
    const foreign = parsed.populateFrom !== undefined && (await hasForeignOwner(step, asRoot, parsed.populateFrom));
    const argv = [...asRoot, ...makeFilesystemArgs(parsed)];
    const made = await step.tryRun(argv, { cwd: dirname(parsed.image) });
    if (made.exitCode !== 0) throw await explainFailure(step, made, parsed);
    if (foreign) await giveToRoot(step, location);
    const { uuid, label, sizeBytes, freeBytes, inodeCount, freeInodes } = await readExt4Superblock(step, location);
    step.measured(sizeBytes - freeBytes);
    return { uuid, label, sizeBytes, freeBytes, inodeCount, freeInodes };
  });
}

/** mkfs would make a missing image, and write past the end of a small one. */
async function checkFits(image: string, { offsetBytes, sizeBytes }: MakeFilesystemOptions['partition']): Promise<void> {
  const facts = await stat(image).catch(() => undefined);
  const message =
    facts === undefined
      ? `${image} does not exist`
      : facts.isFile() && facts.size < offsetBytes + sizeBytes
        ? `${image} has ${facts.size} bytes, and the partition ends at ${offsetBytes + sizeBytes}`
        : undefined;
  if (message !== undefined) throw new InvalidOptionsError(STEP, [{ path: 'image', message }]);
}

/** What to put before a command so that the caller's own files are root's: nothing for root, else a user namespace
 *  (unshare(1)) where this host allows one. */
async function mapToRoot(step: StepRunner): Promise<string[]> {
  const { stdout } = await step.run(['id', '-u']);
  if (stdout.toString('utf8').trim() === '0') return [];
  const namespace = ['unshare', '--map-root-user', '--'];
  const probe = await step.tryRun([...namespace, 'true']);
  if (probe.exitCode === 0) return namespace;
  step.note('no user namespaces here: ownership is set in the finished filesystem, which takes longer');
  return [];
}

async function hasForeignOwner(step: StepRunner, asRoot: readonly string[], folder: string): Promise<boolean> {
  const { stdout } = await step.run([
    ...asRoot,
    'find',
    folder,
    '(',
    '!',
    '-uid',
    '0',
    '-o',
    '!',
    '-gid',
    '0',
    ')',
    '-printf',
    'x',
    '-quit',
  ]);
  return stdout.length > 0;
}

/** Sets the owner of every inode in the tree to root. */
async function giveToRoot(step: StepRunner, location: { readonly name: string; readonly cwd: string }): Promise<void> {
  const inodes = new Set(
    (await listExt4Tree(step, location)).filter(({ uid, gid }) => uid !== 0 || gid !== 0).map(({ inode }) => inode),
  );
  inodes.add(2);
  const script = [...inodes].map((inode) => `sif <${inode}> uid 0\nsif <${inode}> gid 0\n`).join('');
  await step.run(['debugfs', '-w', '-f', '-', location.name], { cwd: location.cwd, input: script });
}

async function explainFailure(
  step: StepRunner,
  result: RunResult,
  options: z.output<typeof schema>,
): Promise<NoSpaceError | ToolFailedError> {
  const failure = commandFailure(STEP, step.executor, result, {
    what: `cannot make the filesystem in ${options.image}`,
  });
  // mke2fs(8) can fill a filesystem (-d) since e2fsprogs 1.43; before, it prints its usage.
  if (/invalid option -- 'd'/.test(result.stderr.toString('utf8')))
    return commandFailure(STEP, step.executor, result, {
      what: 'mkfs.ext4 is too old to fill a filesystem; expected e2fsprogs 1.43 or newer',
      hint: packageHint('mkfs.ext4'),
    });
  // libext2fs has words of its own for a full filesystem; the host's full disk says ENOSPC.
  const full =
    /Could not allocate (block|inode) in ext2 filesystem|not enough space|Not enough space|no space|journal .* too big|too many inodes|inode_size .* too big/i;
  if (
    options.populateFrom === undefined ||
    failure instanceof NoSpaceError ||
    !full.test(result.stderr.toString('utf8'))
  )
    return failure;
  const { stdout } = await step.run(['find', options.populateFrom, '-printf', '%y %s\\n']);
  const needed = sumDiskSize(countTree(stdout.toString('latin1')), 'none', 0, 0);
  return new NoSpaceError(
    STEP,
    `the filesystem of ${options.image}`,
    {
      neededBytes: needed.filesystemBytes,
      availableBytes: options.partition.sizeBytes,
      neededInodes: needed.inodes,
      availableInodes: options.inodeCount ?? Math.floor(options.partition.sizeBytes / (16 * KIB)),
    },
    {
      cause: failure,
      detail: failure.message,
      hint: 'give a larger diskSize, or "auto", and the inodeCount that computeDiskSize returns',
    },
  );
}
