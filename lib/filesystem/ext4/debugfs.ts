import { basename, dirname } from 'node:path';
import { InvalidOptionsError, UnexpectedStateError } from '../../run/errors.ts';
import type { StepRunner } from '../../run/step.ts';

/** How the programs of e2fsprogs are told of a filesystem inside an image: `NAME?offset=BYTES`, run in the image's
 *  directory because a `?` in its path would be taken for the start of the options. @see ext2fs_open2 in libext2fs */
export interface Ext4Location {
  readonly name: string;
  readonly cwd: string;
  readonly image: string;
  readonly offsetBytes: number;
}

export function ext4Location(step: string, image: string, offsetBytes: number): Ext4Location {
  const name = basename(image);
  if (name.includes('?'))
    throw new InvalidOptionsError(step, [
      { path: 'image', message: `${image}: e2fsprogs takes no "?" in a file's name` },
    ]);
  const withOffset = offsetBytes === 0 ? `./${name}` : `./${name}?offset=${offsetBytes}`;
  return { name: withOffset, cwd: dirname(image), image, offsetBytes };
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

/** Reads what the superblock says of the filesystem. Runs: debugfs. */
export async function readExt4Superblock(step: StepRunner, location: Ext4Location): Promise<Ext4Superblock> {
  const text = await superblockText(step, location);
  const field = (name: string): string => new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(text)?.[1]?.trim() ?? '';
  const number = (name: string): number => {
    const value = Number(field(name));
    if (!Number.isSafeInteger(value) || field(name) === '')
      throw new UnexpectedStateError(step.step, `debugfs does not tell the ${name}`, { detail: text });
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

/** Every entry of an unmounted ext4 filesystem, read with debugfs one level of directories a run.
 *  @param start the path of the directory to list, without a leading slash; default: the root. */
export async function listExt4Tree(step: StepRunner, location: Ext4Location): Promise<Ext4Entry[]> {
  const entries: Ext4Entry[] = [];
  let level: { readonly inode: number; readonly prefix: string }[] = [{ inode: 2, prefix: '' }];
  while (level.length > 0) {
    const script = level.map((directory) => `ls -p <${directory.inode}>\n`).join('');
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

/** Lines `/INODE/MODE/UID/GID/NAME/SIZE/`, SIZE empty for directories. A name may itself hold a newline, never a slash. */
export function parseListing(listing: string): Ext4Entry[] {
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

/** An entry of an ext4 filesystem with all that debugfs tells of its inode. */
export interface Ext4Node {
  /** type, mode, user, group, size, links, flags, generation, times, target: as text. */
  readonly fields: Readonly<Record<string, string>>;
  /** Blocks of its content: from which of the file's, from which of the filesystem's, how many. */
  readonly extents: readonly { readonly logical: number; readonly physical: number; readonly count: number }[];
}

/** Every field of the superblock, by debugfs's name of it. */
export async function readExt4Fields(step: StepRunner, location: Ext4Location): Promise<Record<string, string>> {
  const text = await superblockText(step, location);
  return Object.fromEntries(
    [...text.matchAll(/^([^:\n]+):\s+(.*)$/gm)].map(([, name = '', value = '']) => [name, value.trim()]),
  );
}

/** By debugfs, for dumpe2fs of e2fsprogs 1.47.2 takes a name with an offset for a tag. */
async function superblockText(step: StepRunner, location: Ext4Location): Promise<string> {
  const argv = ['debugfs', '-R', 'show_super_stats -h', location.name];
  const { stdout, stderr } = await step.run(argv, { cwd: location.cwd });
  // It exits with 0 whatever happens.
  if (stdout.length > 0) return stdout.toString('utf8');
  throw new UnexpectedStateError(step.step, `cannot read the superblock of ${location.name}`, {
    expected: 'an ext4 filesystem',
    found: /^debugfs: (.*)$/m.exec(stderr.toString('utf8'))?.[1] ?? 'nothing',
  });
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

export function parseStat(text: string): Ext4Node {
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
