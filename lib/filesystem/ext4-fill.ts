import { stat, statfs } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { Readable } from 'node:stream';
import { NoSpaceError, ToolFailedError, UnexpectedStateError } from '../errors.ts';
import { isErrno } from '../host-files/errno.ts';
import type { StepRunner } from '../step.ts';
import { SECTOR_BYTES } from '../units.ts';
import { BLOCK_BYTES, type BlockRun, dataRuns, pauses } from './data-runs.ts';
import type { Ext4Location } from './ext4.ts';
import { type AllocatedFile, readExt4Geometry, writeExt4Contents } from './ext4-content.ts';
import type { TreeEntry } from './tree.ts';

/** Fills an empty ext4 filesystem with a tree, entry by entry in the tree's order: the same tree gives the same inodes
 *  and blocks each time. debugfs makes the entries and allocates their blocks; the content is then copied into those by
 *  this process, file after file and many blocks at a time. Blocks of zeros become holes.
 *  `mke2fs -d` would take the order of the host's folders, and its owners and times, and is slower.
 *
 *  Where the executor has files of its own, debugfs copies the content as well.
 *  @param timestamp seconds since 1970 for the superblock; an entry's times are all its modification time.
 *  @param whenFull makes the error for a tree that does not fit. Runs: debugfs; for a sparse file, filefrag. */
export async function fillExt4(
  step: StepRunner,
  location: Ext4Location,
  tree: readonly TreeEntry[],
  timestamp: number,
  whenFull: (cause: Error) => Error,
): Promise<void> {
  if (step.executor.seesHostFiles !== true)
    return runScript(step, location, fillScript(step, tree, timestamp), whenFull);
  const { image, offsetBytes } = location;
  const geometry = readExt4Geometry(image, offsetBytes);
  const files: AllocatedFile[] = [];
  const pause = pauses(step);
  // No inode is free between those in use and the next.
  let inode = geometry.usedInodes;
  const allocate: ContentPlan = {
    nextInode: () => {
      inode += 1;
      return inode;
    },
    runs: async ({ source, sizeBytes }) => {
      const runs = await dataRuns(step, Buffer.from(source, 'latin1'), sizeBytes, pause);
      if (runs.length > 0) files.push({ inode, source, sizeBytes, runs });
      return runs;
    },
  };
  try {
    await runScript(step, location, fillScript(step, tree, timestamp, allocate), whenFull);
    await writeExt4Contents(step, image, offsetBytes, geometry, files);
  } catch (error) {
    if (isErrno(error, 'ENOSPC') || isErrno(error, 'EDQUOT')) throw await hostIsFull(step, image, files, error);
    if (isErrno(error, 'EACCES') || isErrno(error, 'EIO') || isErrno(error, 'ENOENT'))
      throw new UnexpectedStateError(step.step, `cannot fill the filesystem: ${(error as Error).message}`, {
        cause: error,
      });
    throw error;
  }
}

/** The host's disk, not the image's filesystem: what of the content was still to be written, and what room is left. */
async function hostIsFull(
  step: StepRunner,
  image: string,
  files: readonly AllocatedFile[],
  cause: unknown,
): Promise<NoSpaceError> {
  const folder = dirname(resolve(image));
  const { bavail, bsize } = await statfs(folder);
  const blocks = files.reduce((sum, { runs }) => sum + runs.reduce((part, { count }) => part + count, 0), 0);
  const { blocks: written } = await stat(image);
  const neededBytes = Math.max(0, blocks * BLOCK_BYTES - written * SECTOR_BYTES);
  return new NoSpaceError(
    step.step,
    `the filesystem of ${folder}`,
    { neededBytes, availableBytes: bavail * bsize },
    { cause, hint: 'free space there, or put the image elsewhere' },
  );
}

async function runScript(
  step: StepRunner,
  location: Ext4Location,
  script: AsyncIterable<string>,
  whenFull: (cause: Error) => Error,
): Promise<void> {
  const argv = ['debugfs', '-w', '-f', '-', location.name];
  let failure: unknown;
  const result = await step.tryRun(argv, {
    answers: 'any',
    cwd: location.cwd,
    input: Readable.from(
      inPieces(script, (error) => {
        failure = error;
      }),
    ),
    // It echoes every command.
    discardStdout: true,
  });
  if (failure !== undefined) throw failure;
  // The first line is its version. It goes on after an error, and what follows is only its consequence.
  const said = result.stderr
    .toString('utf8')
    .split('\n')
    .find((line) => line !== '' && !/^debugfs \d/.test(line));
  if (said === undefined && result.exitCode === 0) return;
  const failed = new ToolFailedError(
    {
      step: step.step,
      argv,
      exitCode: result.exitCode,
      signal: result.signal,
      outputTail: said ?? '',
      durationMs: result.durationMs,
      executor: step.executor.name,
    },
    { what: `cannot fill the filesystem: ${said ?? 'debugfs failed'}` },
  );
  if (/Could not allocate/.test(said ?? '')) throw whenFull(failed);
  if (/No space left on device|Disk quota/.test(said ?? ''))
    throw new NoSpaceError(step.step, `the folder of ${location.name} on ${step.executor.name}`, {}, { cause: failed });
  throw failed;
}

/** Inodes that a tree takes: a hard link takes none. */
export function countInodes(tree: readonly TreeEntry[]): number {
  const linked = new Set<string>();
  let inodes = 0;
  for (const { hardLink } of tree) {
    if (hardLink === undefined) inodes += 1;
    else linked.add(hardLink);
  }
  return inodes + linked.size;
}

/** The script ends early at a failure, which is then the caller's: a stream's would reach debugfs's input. */
async function* inPieces(lines: AsyncIterable<string>, onFailure: (error: unknown) => void): AsyncGenerator<Buffer> {
  let piece = '';
  try {
    for await (const line of lines) {
      piece += line;
      if (piece.length < 64 * 1024) continue;
      yield Buffer.from(piece, 'latin1');
      piece = '';
    }
  } catch (error) {
    onFailure(error);
  }
  yield Buffer.from(piece, 'latin1');
}

/** What debugfs's parser takes on one line. */
const LONGEST_LINE = 8000;

/** For files whose content is written afterwards. */
export interface ContentPlan {
  /** The inode that debugfs gives the next entry. */
  nextInode(): number;
  /** The blocks that a file needs. */
  runs(file: TreeEntry): Promise<readonly BlockRun[]>;
}

/** Every entry as commands of debugfs(8), which work in its current folder. */
export async function* fillScript(
  step: { readonly step: string },
  tree: readonly TreeEntry[],
  timestamp: number,
  plan?: ContentPlan,
): AsyncGenerator<string> {
  const quote = (text: string): string => {
    if (/[\n\0]/.test(text) || text.length > LONGEST_LINE / 2)
      throw new UnexpectedStateError(step.step, `cannot put ${JSON.stringify(text)} into an ext4 image`, {
        hint: 'debugfs, which fills the filesystem, takes no newline in a name; populateRootWith "cptofs" does',
      });
    return `"${text.replaceAll('"', '""')}"`;
  };
  const links = new Map<string, { readonly path: string; count: number }>();
  let folder: string[] = [];
  let now = timestamp;
  yield `set_current_time @${now}\n`;
  for (const entry of tree) {
    checkTime(step.step, entry);
    if (entry.path === '') {
      yield* attributes(entry, '"/"', 0o040000, 0o755);
      if (entry.mtime !== now) yield `sif "/" mtime @${entry.mtime}\n`;
      continue;
    }
    // A new entry has the current time; setting it by itself would look up every file once more.
    if (entry.mtime !== now) {
      now = entry.mtime;
      yield `set_current_time @${now}\n`;
    }
    const segments = entry.path.split('/');
    const name = quote(segments.pop() ?? '');
    let common = 0;
    while (common < folder.length && folder[common] === segments[common]) common += 1;
    for (let up = folder.length; up > common; up -= 1) yield 'cd ..\n';
    for (const segment of segments.slice(common)) yield `cd ${quote(segment)}\n`;
    folder = segments;
    if (entry.path === 'lost+found') {
      // mkfs has made it.
      yield* attributes(entry, name, 0o040000, -1);
      continue;
    }
    const first = entry.hardLink === undefined ? undefined : links.get(entry.hardLink);
    if (first !== undefined) {
      first.count += 1;
      // `ln` leaves the count of links to its caller.
      yield `ln ${quote(`/${first.path}`)} ${name}\nsif ${name} links_count ${first.count}\n`;
      continue;
    }
    if (entry.hardLink !== undefined) links.set(entry.hardLink, { path: entry.path, count: 1 });
    // By its number, an inode need not be looked up.
    const inode = plan === undefined ? name : `<${plan.nextInode()}>`;
    if (entry.type === 'folder') {
      yield `mkdir ${name}\n`;
      yield* attributes(entry, inode, 0o040000, 0o755);
    } else if (entry.type === 'symlink') {
      yield `symlink ${name} ${quote(entry.target)}\n`;
      yield* attributes(entry, inode, 0o120000, entry.mode);
    } else if (entry.type === 'fifo') {
      yield `mknod ${name} p\n`;
      yield* attributes(entry, inode, 0o010000, -1);
    } else {
      yield `write ${plan === undefined ? quote(entry.source) : '/dev/null'} ${name}\n`;
      // It takes the source's mode.
      yield* attributes(entry, inode, 0o100000, -1);
      if (plan === undefined || entry.sizeBytes === 0) continue;
      for (const { start, count } of await plan.runs(entry)) yield `fallocate ${inode} ${start} ${start + count - 1}\n`;
      yield `sif ${inode} size ${entry.sizeBytes}\n`;
    }
  }
  if (now !== timestamp) yield `set_current_time @${timestamp}\n`;
}

/** What every debugfs sets: from 1.47.1 on it makes 2038 of what is later, and before that 1903. */
const EARLIEST = -(2 ** 31);
const LATEST = 2 ** 31 - 1;

/** @throws {UnexpectedStateError} for a time that debugfs would change. */
function checkTime(step: string, { path, mtime }: TreeEntry): void {
  if (mtime < EARLIEST || mtime > LATEST)
    throw new UnexpectedStateError(step, `/${path} has a time that debugfs does not set: ${mtime} s since 1970`, {
      expected: 'from 1901 to 2038',
    });
}

/** What differs from what debugfs gives a new entry: root's, its own mode. */
function* attributes(entry: TreeEntry, inode: string, type: number, defaultMode: number): Generator<string> {
  if (entry.mode !== defaultMode) yield `sif ${inode} mode 0${(type | entry.mode).toString(8)}\n`;
  if (entry.uid !== 0) yield `sif ${inode} uid ${entry.uid}\n`;
  if (entry.gid !== 0) yield `sif ${inode} gid ${entry.gid}\n`;
}
