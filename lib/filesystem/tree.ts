import { basename, join, resolve } from 'node:path';
import { UnexpectedStateError } from '../errors.ts';
import type { StepRunner } from '../step.ts';

/** What goes into a filesystem: a staged folder, and store paths that stay where they are until they are written. */
export interface TreeSource {
  /** A folder whose contents are the root's. */
  readonly root?: string | undefined;
  /** Store paths that are not in `root`: each goes to its own path, whichever store holds it. */
  readonly closure?: Closure | undefined;
  /** More entries, with their own modes and owners, each with its content where `source` says. */
  readonly entries?: readonly TreeEntry[] | undefined;
  /** Who owns what; everything else is root's, whoever owns it on this host. */
  readonly owners?: readonly TreeOwner[] | undefined;
  /** Seconds since 1970 for every file's times; default: the source's modification times. */
  readonly timestamp?: number | undefined;
}

/** A closure in a Nix store of this host. */
export interface Closure {
  /** A private store's folder, with `nix/store` in it; default: the host's store. */
  readonly store?: string | undefined;
  /** `/nix/store/…` */
  readonly storePaths: readonly string[];
}

/** Gives a path with all below it to numeric ids. */
export interface TreeOwner {
  /** From `/`. */
  readonly target: string;
  readonly uid: number;
  readonly gid: number;
}

export type TreeEntryType = 'file' | 'folder' | 'symlink' | 'fifo';

/** One entry. Paths and names are bytes read as latin1, because a name need not be UTF-8. */
export interface TreeEntry {
  /** From the filesystem's root, without a leading slash; the root itself is ''. */
  readonly path: string;
  readonly type: TreeEntryType;
  /** Permission bits, with setuid, setgid and sticky. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly sizeBytes: number;
  /** Seconds since 1970. */
  readonly mtime: number;
  /** The file on this host, absolute. */
  readonly source: string;
  /** Where a symbolic link points. */
  readonly target: string;
  /** Names the file that several entries are hard links to; undefined when it has one name. */
  readonly hardLink: string | undefined;
}

const TYPES: Readonly<Record<string, TreeEntryType>> = { f: 'file', d: 'folder', l: 'symlink', p: 'fifo' };

/** Starting points on one command line. */
const CHUNK = 1000;

/** Lists a tree in one order, whatever order the host's folders have: parents first, names by their bytes.
 *  @throws {UnexpectedStateError} for what no image should hold (devices, sockets), and for a store path that is in the
 *  staged folder too. Runs: find. */
export async function listTree(step: StepRunner, source: TreeSource): Promise<TreeEntry[]> {
  const entries: TreeEntry[] = [];
  const owners = (source.owners ?? []).map(({ target, uid, gid }) => ({
    path: Buffer.from(target, 'utf8')
      .toString('latin1')
      .replace(/^\/+|\/+$/g, ''),
    uid,
    gid,
  }));
  const ownerOf = (path: string): { uid: number; gid: number } | undefined =>
    owners.findLast((owner) => path === owner.path || path.startsWith(`${owner.path}/`));
  const visit = (place: (start: string, below: string) => string, splitLinks: boolean) => (found: Found) => {
    const path = place(found.start, found.below);
    const type = TYPES[found.type];
    if (type === undefined)
      throw new UnexpectedStateError(step.step, `cannot put /${path} into an image`, {
        expected: 'a file, a folder, a symbolic link or a FIFO',
        found: `a file of type "${found.type}" (find -printf %y)`,
      });
    const owner = ownerOf(path);
    entries.push({
      path,
      type,
      mode: found.mode,
      uid: owner?.uid ?? 0,
      gid: owner?.gid ?? 0,
      sizeBytes: found.sizeBytes,
      mtime: source.timestamp ?? found.mtime,
      source: found.below === '' ? found.start : `${found.start}/${found.below}`,
      target: found.target,
      hardLink: found.links > 1 && type === 'file' && !splitLinks ? found.inode : undefined,
    });
  };
  if (source.root !== undefined)
    await find(
      step,
      [resolve(source.root)],
      visit((_, below) => below, false),
    );
  const listed = new Set(entries.map(({ path }) => path));
  // Folders on the way to a closure are the staged root's, where it has them.
  for (const entry of source.entries ?? [])
    if (!(isOnTheWay(entry.path) && listed.has(entry.path)))
      entries.push({ ...entry, mtime: source.timestamp ?? entry.mtime });
  const newFolder = { ...NEW_FOLDER, mtime: source.timestamp ?? NEW_FOLDER.mtime };
  if (!entries.some(({ path }) => path === '')) entries.push(newFolder);
  const { store, storePaths = [] } = source.closure ?? {};
  const files = storePaths.map((storePath) => join(resolve(store ?? '/'), storePath));
  // Which files of a store are links to each other depends on how that store was optimised, not on the closure.
  const splitLinks = source.timestamp !== undefined;
  const inStore = (start: string, below: string): string =>
    `nix/store/${basename(start)}${below === '' ? '' : `/${below}`}`;
  for (let index = 0; index < files.length; index += CHUNK)
    await find(step, files.slice(index, index + CHUNK), visit(inStore, splitLinks));
  if (storePaths.length > 0) {
    const there = new Set(entries.map(({ path }) => path));
    for (const path of ['nix', 'nix/store']) if (!there.has(path)) entries.push({ ...newFolder, path });
  }
  return inOrder(step, entries);
}

/** Whether a path is one of those that listTree adds to a closure. */
function isOnTheWay(path: string): boolean {
  return path === '' || path === 'nix' || path === 'nix/store';
}

/** A folder that no source has. */
const NEW_FOLDER: TreeEntry = {
  path: '',
  type: 'folder',
  mode: 0o755,
  uid: 0,
  gid: 0,
  sizeBytes: 0,
  mtime: 1,
  source: '',
  target: '',
  hardLink: undefined,
};

function inOrder(step: StepRunner, entries: readonly TreeEntry[]): TreeEntry[] {
  // A NUL sorts before every byte of a name, so that a folder's entries stand together behind it.
  const keyed = entries.map((entry) => ({ key: entry.path.replaceAll('/', '\0'), entry }));
  keyed.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0));
  for (let index = 1; index < keyed.length; index += 1)
    if (keyed[index]?.key === keyed[index - 1]?.key)
      throw new UnexpectedStateError(step.step, `duplicate entry /${keyed[index]?.entry.path}`, {
        expected: 'each path once',
        found: `${keyed[index - 1]?.entry.source} and ${keyed[index]?.entry.source}`,
      });
  return keyed.map(({ entry }) => entry);
}

interface Found {
  readonly type: string;
  readonly mode: number;
  readonly sizeBytes: number;
  readonly mtime: number;
  readonly inode: string;
  readonly links: number;
  readonly start: string;
  readonly below: string;
  readonly target: string;
}

const FORMAT = '%y %m %s %T@ %D:%i %n\\0%H\\0%P\\0%l\\0';

async function find(step: StepRunner, starts: readonly string[], visit: (found: Found) => void): Promise<void> {
  let rest = '';
  let failure: unknown;
  const take = (chunk: Buffer): void => {
    const fields = (rest + chunk.toString('latin1')).split('\0');
    const whole = fields.length - 1 - ((fields.length - 1) % 4);
    for (let index = 0; index < whole; index += 4) {
      const [type = '', mode = '', size, mtime, inode = '', links] = (fields[index] ?? '').split(' ');
      const [start = '', below = '', target = ''] = fields.slice(index + 1, index + 4);
      visit({
        type,
        mode: Number.parseInt(mode, 8),
        sizeBytes: Number(size),
        mtime: Math.floor(Number(mtime)),
        inode,
        links: Number(links),
        start,
        below,
        target,
      });
    }
    rest = fields.slice(whole).join('\0');
  };
  await step.run(['find', ...starts, '-printf', FORMAT], {
    what: `cannot read ${starts[0]}`,
    onStdout: (chunk) => {
      try {
        take(chunk);
      } catch (error) {
        failure ??= error;
      }
    },
  });
  if (failure !== undefined) throw failure;
}
