import { basename, dirname } from 'node:path';
import { Readable } from 'node:stream';
import { InvalidOptionsError, NoSpaceError, ToolFailedError, UnexpectedStateError } from '../errors.ts';
import type { StepRunner } from '../step.ts';
import type { TreeEntry } from './tree.ts';

/** How the programs of e2fsprogs are told of a filesystem inside an image: `NAME?offset=BYTES`, run in the image's
 *  folder because a `?` in its path would be taken for the start of the options. @see ext2fs_open2 in libext2fs */
export interface Ext4Location {
  readonly name: string;
  readonly cwd: string;
}

export function ext4Location(step: string, image: string, offsetBytes: number): Ext4Location {
  const name = basename(image);
  if (name.includes('?'))
    throw new InvalidOptionsError(step, [
      { path: 'image', message: `${image}: e2fsprogs takes no "?" in a file's name` },
    ]);
  return { name: offsetBytes === 0 ? `./${name}` : `./${name}?offset=${offsetBytes}`, cwd: dirname(image) };
}

/** The superblock's fields that steps return. */
export interface Ext4Superblock {
  /** Lower case. */
  readonly uuid: string;
  readonly label: string;
  readonly sizeBytes: number;
  readonly freeBytes: number;
  readonly inodeCount: number;
  readonly freeInodes: number;
  readonly lastChecked: string;
  readonly hashSeed: string | undefined;
}

/** Reads the superblock with dumpe2fs. */
export async function readExt4Superblock(step: StepRunner, location: Ext4Location): Promise<Ext4Superblock> {
  const { stdout } = await step.run(['dumpe2fs', '-h', location.name], { cwd: location.cwd });
  const text = stdout.toString('utf8');
  const field = (name: string): string => new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(text)?.[1]?.trim() ?? '';
  const number = (name: string): number => {
    const value = Number(field(name));
    if (!Number.isSafeInteger(value) || field(name) === '')
      throw new UnexpectedStateError(step.step, `dumpe2fs does not tell the ${name}`, { detail: text });
    return value;
  };
  const blockBytes = number('Block size');
  const label = field('Filesystem volume name');
  return {
    uuid: field('Filesystem UUID').toLowerCase(),
    label: label === '<none>' ? '' : label,
    sizeBytes: number('Block count') * blockBytes,
    freeBytes: number('Free blocks') * blockBytes,
    inodeCount: number('Inode count'),
    freeInodes: number('Free inodes'),
    lastChecked: field('Last checked'),
    hashSeed: field('Directory Hash Seed').toLowerCase() || undefined,
  };
}

export interface Ext4Entry {
  /** From the filesystem's root, without a leading slash. */
  readonly path: string;
  readonly inode: number;
  /** st_mode, with the file type. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly sizeBytes: number | undefined;
}

/** Every entry of an unmounted ext4 filesystem, read with debugfs one level of folders a run.
 *  @param start the path of the folder to list, without a leading slash; default: the root. */
export async function listExt4Tree(step: StepRunner, location: Ext4Location): Promise<Ext4Entry[]> {
  const entries: Ext4Entry[] = [];
  let level: { readonly inode: number; readonly prefix: string }[] = [{ inode: 2, prefix: '' }];
  while (level.length > 0) {
    const script = level.map((folder) => `ls -p <${folder.inode}>\n`).join('');
    const { stdout } = await step.run(['debugfs', '-f', '-', location.name], {
      cwd: location.cwd,
      input: script,
    });
    const listings = stdout
      .toString('utf8')
      .split(/^debugfs: ls -p <\d+>\n/m)
      .slice(1);
    const next: typeof level = [];
    for (const [index, listing] of listings.entries()) {
      const prefix = level[index]?.prefix ?? '';
      for (const entry of parseListing(listing)) {
        const path = `${prefix}${entry.path}`;
        entries.push({ ...entry, path });
        if ((entry.mode & 0o170000) === 0o040000) next.push({ inode: entry.inode, prefix: `${path}/` });
      }
    }
    level = next;
  }
  return entries;
}

/** Lines `/INODE/MODE/UID/GID/NAME/SIZE/`, SIZE empty for folders. A name may itself hold a newline, never a slash. */
function parseListing(listing: string): Ext4Entry[] {
  const entries: Ext4Entry[] = [];
  for (const match of listing.matchAll(/^\/(\d+)\/(\d{6})\/(\d+)\/(\d+)\/([^/]+)\/(\d*)\/$/gm)) {
    const [, inode, mode, uid, gid, name = '', size] = match;
    if (name === '.' || name === '..' || inode === '0') continue;
    entries.push({
      path: name,
      inode: Number(inode),
      mode: Number.parseInt(mode ?? '', 8),
      uid: Number(uid),
      gid: Number(gid),
      sizeBytes: size === '' ? undefined : Number(size),
    });
  }
  return entries;
}

/** Fills an empty ext4 filesystem with a tree, entry by entry in the tree's order: the same tree gives the same inodes
 *  and blocks each time. Files are read where they are; blocks of zeros become holes.
 *  `mke2fs -d` would take the order of the host's folders, and its owners and times.
 *  @param timestamp seconds since 1970 for the superblock; an entry's times are all its modification time.
 *  @param whenFull makes the error for a tree that does not fit. Runs: debugfs. */
export async function fillExt4(
  step: StepRunner,
  location: Ext4Location,
  tree: readonly TreeEntry[],
  timestamp: number,
  whenFull: (cause: Error) => Error,
): Promise<void> {
  const argv = ['debugfs', '-w', '-f', '-', location.name];
  const result = await step.tryRun(argv, {
    cwd: location.cwd,
    input: Readable.from(inPieces(fillScript(step, tree, timestamp))),
    // It echoes every command.
    discardStdout: true,
  });
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

function* inPieces(lines: Iterable<string>): Generator<Buffer> {
  let piece = '';
  for (const line of lines) {
    piece += line;
    if (piece.length < 64 * 1024) continue;
    yield Buffer.from(piece, 'latin1');
    piece = '';
  }
  yield Buffer.from(piece, 'latin1');
}

/** What debugfs's parser takes on one line. */
const LONGEST_LINE = 8000;

/** Every entry as commands of debugfs(8), which work in its current folder. */
export function* fillScript(
  step: { readonly step: string },
  tree: readonly TreeEntry[],
  timestamp: number,
): Generator<string> {
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
    if (entry.type === 'folder') {
      // mkfs has made this one.
      if (entry.path !== 'lost+found') yield `mkdir ${name}\n`;
      yield* attributes(entry, name, 0o040000, entry.path === 'lost+found' ? -1 : 0o755);
    } else if (entry.type === 'symlink') {
      yield `symlink ${name} ${quote(entry.target)}\n`;
      yield* attributes(entry, name, 0o120000, entry.mode);
    } else if (entry.type === 'fifo') {
      yield `mknod ${name} p\n`;
      yield* attributes(entry, name, 0o010000, -1);
    } else {
      const first = entry.hardLink === undefined ? undefined : links.get(entry.hardLink);
      if (first !== undefined) {
        first.count += 1;
        // `ln` leaves the count of links to its caller.
        yield `ln ${quote(`/${first.path}`)} ${name}\nsif ${name} links_count ${first.count}\n`;
        continue;
      }
      if (entry.hardLink !== undefined) links.set(entry.hardLink, { path: entry.path, count: 1 });
      yield `write ${quote(entry.source)} ${name}\n`;
      // It takes the source's mode.
      yield* attributes(entry, name, 0o100000, entry.sourceMode ?? -1);
    }
  }
  if (now !== timestamp) yield `set_current_time @${timestamp}\n`;
}

/** What differs from what debugfs gives a new entry: root's, its own mode. */
function* attributes(entry: TreeEntry, name: string, type: number, defaultMode: number): Generator<string> {
  if (entry.mode !== defaultMode) yield `sif ${name} mode 0${(type | entry.mode).toString(8)}\n`;
  if (entry.uid !== 0) yield `sif ${name} uid ${entry.uid}\n`;
  if (entry.gid !== 0) yield `sif ${name} gid ${entry.gid}\n`;
}

/** An entry of an ext4 filesystem with all that debugfs tells of its inode. */
export interface Ext4Node {
  /** type, mode, user, group, size, links, flags, generation, times, target: as text. */
  readonly fields: Readonly<Record<string, string>>;
  /** Blocks of its content: from which of the file's, from which of the filesystem's, how many. */
  readonly extents: readonly { readonly logical: number; readonly physical: number; readonly count: number }[];
}

/** Every field of the superblock as dumpe2fs names it. */
export async function readExt4Fields(step: StepRunner, location: Ext4Location): Promise<Record<string, string>> {
  const { stdout } = await step.run(['dumpe2fs', '-h', location.name], { cwd: location.cwd });
  return Object.fromEntries(
    [...stdout.toString('utf8').matchAll(/^([^:\n]+):\s+(.*)$/gm)].map(([, name = '', value = '']) => [
      name,
      value.trim(),
    ]),
  );
}

/** Every entry by its path, the root under ''. Runs: debugfs. */
export async function readExt4Nodes(step: StepRunner, location: Ext4Location): Promise<Map<string, Ext4Node>> {
  const entries = [{ path: '', inode: 2 }, ...(await listExt4Tree(step, location))];
  const inodes = [...new Set(entries.map(({ inode }) => inode))];
  const { stdout } = await step.run(['debugfs', '-f', '-', location.name], {
    cwd: location.cwd,
    input: inodes.map((inode) => `stat <${inode}>\n`).join(''),
    // It prints times as people here have them.
    env: { TZ: 'UTC' },
  });
  const nodes = new Map<number, Ext4Node>();
  for (const part of stdout
    .toString('latin1')
    .split(/^debugfs: stat /m)
    .slice(1))
    nodes.set(Number(/^<(\d+)>/.exec(part)?.[1]), parseStat(part));
  return new Map(
    entries.flatMap(({ path, inode }) => {
      const node = nodes.get(inode);
      return node === undefined ? [] : [[path, node] as const];
    }),
  );
}

function parseStat(text: string): Ext4Node {
  const field = (pattern: RegExp): string => pattern.exec(text)?.[1] ?? '';
  const fields: Record<string, string> = {
    type: field(/Type: (.+?) +Mode:/),
    mode: field(/Mode: +(\d+)/),
    flags: field(/Flags: +(0x[0-9a-f]+)/),
    generation: field(/Generation: +(\d+)/),
    user: field(/User: +(\d+)/),
    group: field(/Group: +(\d+)/),
    size: field(/Size: (\d+)/),
    links: field(/Links: (\d+)/),
  };
  for (const time of ['ctime', 'atime', 'mtime', 'crtime'])
    fields[time] = field(new RegExp(`^ *${time}: 0x\\w+:\\w+ -- (.*)$`, 'm'));
  const target = field(/^Fast link dest: "(.*)"$/m);
  if (target !== '') fields.target = target;
  // `(0-3):1172-1175, (5):1200`; blocks of the extent tree itself have a name in the parentheses.
  const extents = [...text.matchAll(/\((\d+)(?:-(\d+))?\):(\d+)/g)].map(([, first, last, physical]) => ({
    logical: Number(first),
    physical: Number(physical),
    count: Number(last ?? first) - Number(first) + 1,
  }));
  return { fields, extents };
}
