import { lstatSync, readdirSync, readlinkSync, type Stats, statSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import type { FileAttribute } from '../formats/ext4/attributes.ts';
import { UnexpectedStateError } from '../run/errors.ts';
import type { StepRunner } from '../run/step.ts';
import { SECTOR_BYTES } from '../units.ts';
import { pauses } from './data-runs.ts';

/** The sources of the files for a filesystem: a staged directory, store paths that are read from their store, and
 *  single entries. */
export interface TreeSource {
  /** A directory whose contents are written to the filesystem's root. */
  readonly root?: string | undefined;
  /** Store paths that are not in `root`. Each is written to `/nix/store/…`, even if it is in a private store. */
  readonly closure?: Closure | undefined;
  /** Further entries, with their own modes and owners. */
  readonly entries?: readonly TreeEntry[] | undefined;
  /** Owners of paths. root owns all others, independent of their owners on this host. */
  readonly owners?: readonly TreeOwner[] | undefined;
  /** Extended attributes, which are supported only for ext4. */
  readonly attributes?: readonly TreeAttribute[] | undefined;
  /** Seconds since 1970 for the times of all files; default: the sources' modification times. */
  readonly timestamp?: number | undefined;
}

/** A closure in a Nix store of this host. */
export interface Closure {
  /** The directory of a private store, which contains `nix/store`; default: the host's store. */
  readonly store?: string | undefined;
  /** `/nix/store/…` */
  readonly storePaths: readonly string[];
  /** Where the filesystem will be mounted; default "/". */
  readonly mountPoint?: '/' | '/nix' | '/nix/store' | undefined;
  /** An old name of `mountPoint: "/nix/store"`. */
  readonly atRoot?: boolean | undefined;
}

/** Where a filesystem has the store, relative to its root: "nix/store", "store" or "". */
export function storeDirectory({ mountPoint = '/', atRoot = false }: Closure): string {
  return atRoot ? '' : '/nix/store'.slice(mountPoint.length).replace(/^\//, '');
}

/** The numeric owner of a path and everything below it. */
export interface TreeOwner {
  /** Absolute path. */
  readonly target: string;
  readonly uid: number;
  readonly gid: number;
}

/** An extended attribute of one path, such as a file capability, an ACL or a label. @see xattr(7) */
export interface TreeAttribute {
  /** Absolute path; its bytes, decoded as latin1. */
  readonly target: string;
  /** With its namespace: "security.capability". */
  readonly name: string;
  /** Hexadecimal digits. */
  readonly value: string;
}

export type TreeEntryType = 'file' | 'directory' | 'symlink' | 'fifo';

/** One entry. Paths and names are bytes decoded as latin1, because a name need not be UTF-8. */
export interface TreeEntry {
  /** The path from the filesystem's root, without a leading slash; the root itself is ''. */
  readonly path: string;
  readonly type: TreeEntryType;
  /** Permission bits, with setuid, setgid and sticky. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly sizeBytes: number;
  /** Seconds since 1970. */
  readonly mtime: number;
  /** The absolute path of the file on this host. */
  readonly source: string;
  /** The target of a symbolic link. */
  readonly target: string;
  /** Identifies the file of which several entries are hard links; undefined when it has only one name. */
  readonly hardLink: string | undefined;
  readonly attributes?: readonly FileAttribute[] | undefined;
  /** Bytes allocated on this host, divided by the number of hard links. */
  readonly hostBytes?: number | undefined;
}

/** Walks a tree in a fixed order, independent of the order in the host's directories: parents first, names sorted by
 *  their bytes. It can be walked several times. Only the names in the directories above the current entry are in
 *  memory.
 *  @throws {UnexpectedStateError} for devices and sockets, and for a path that two sources contain. */
export function walkTree(step: StepRunner, source: TreeSource): Iterable<TreeEntry> {
  return { [Symbol.iterator]: () => merged(step, source) };
}

/** Collects walkTree's entries. */
export async function listTree(step: StepRunner, source: TreeSource): Promise<TreeEntry[]> {
  const pause = pauses(step);
  const entries: TreeEntry[] = [];
  for (const entry of walkTree(step, source)) {
    await pause();
    entries.push(entry);
  }
  return entries;
}

/** Parents of store paths, which are created if no source contains them, and the root. */
function parentsOf(directory: string): string[] {
  const names = directory === '' ? [] : directory.split('/');
  return ['', ...names.map((_, index) => names.slice(0, index + 1).join('/'))];
}

function* merged(step: StepRunner, source: TreeSource): Generator<TreeEntry> {
  const { root, closure, entries = [], timestamp } = source;
  const ownerOf = ownersOf(source.owners ?? []);
  const attributesOf = byPath(source.attributes ?? []);
  const dated = (entry: TreeEntry): TreeEntry => {
    const attributes = attributesOf.get(entry.path);
    const named = attributes === undefined ? entry : { ...entry, attributes };
    return timestamp === undefined ? named : { ...named, mtime: timestamp };
  };
  const own = (entry: TreeEntry): TreeEntry => {
    const owner = ownerOf(entry.path);
    return dated(owner === undefined ? entry : { ...entry, ...owner });
  };
  const needsStore = closure !== undefined && closure.storePaths.length > 0;
  const onTheWay = parentsOf(needsStore ? storeDirectory(closure) : '');
  const sorted = [...entries].sort((a, b) => comparePaths(a.path, b.path));
  // If several streams contain a parent of store paths, the first one wins.
  const streams = [
    root === undefined ? [] : new HostWalk(step.step, false).below(resolve(root), ''),
    sorted,
    // In a reproducible image, hard links in the store are split: they depend on how the store was optimised.
    closure === undefined ? [] : closureEntries(new HostWalk(step.step, timestamp !== undefined), closure),
    onTheWay.map((path) => ({ ...NEW_DIRECTORY, path })),
  ].map((stream) => stream[Symbol.iterator]());
  const heads = streams.map((stream) => stream.next());
  const next = (index: number): void => {
    heads[index] = streams[index]?.next() ?? { done: true, value: undefined };
  };
  for (;;) {
    let first = -1;
    for (const [index, head] of heads.entries()) {
      if (head.done) continue;
      const least = heads[first];
      if (least === undefined || least.done) first = index;
      else {
        const order = comparePaths(head.value.path, least.value.path);
        if (order < 0) first = index;
        else if (order === 0) {
          if (!onTheWay.includes(head.value.path)) throw duplicate(step, least.value, head.value);
          next(index);
        }
      }
    }
    const chosen = heads[first];
    if (chosen === undefined || chosen.done) return;
    // Entries of the caller have their own owners.
    yield first === 1 ? dated(chosen.value) : own(chosen.value);
    next(first);
    const after = heads[first];
    if (after?.done === false && after.value.path === chosen.value.path)
      throw duplicate(step, chosen.value, after.value);
  }
}

function* closureEntries(walk: HostWalk, closure: Closure): Generator<TreeEntry> {
  const { store = '/', storePaths } = closure;
  const directory = storeDirectory(closure);
  const byName = storePaths.map((storePath) => ({ name: latin1(basename(storePath)), storePath }));
  byName.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  for (const { name, storePath } of byName)
    yield* walk.from(join(resolve(store), storePath), directory === '' ? name : `${directory}/${name}`);
}

function byPath(attributes: readonly TreeAttribute[]): Map<string, FileAttribute[]> {
  const found = new Map<string, FileAttribute[]>();
  for (const { target, name, value } of attributes) {
    const path = target.replace(/^\/+|\/+$/g, '');
    const known = found.get(path);
    const attribute = { name, value: Buffer.from(value, 'hex') };
    if (known === undefined) found.set(path, [attribute]);
    else known.push(attribute);
  }
  return found;
}

/** Returns a function that finds the owner of a path: the last item for the path or one of its parents. */
function ownersOf(owners: readonly TreeOwner[]): (path: string) => { uid: number; gid: number } | undefined {
  const given = owners.map(({ target, uid, gid }) => ({ path: latin1(target).replace(/^\/+|\/+$/g, ''), uid, gid }));
  return (path) => {
    const owner = given.findLast((one) => one.path === '' || path === one.path || path.startsWith(`${one.path}/`));
    return owner === undefined ? undefined : { uid: owner.uid, gid: owner.gid };
  };
}

/** Compares paths by directory: a slash sorts before every other byte. */
function comparePaths(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let at = 0; at < length; at += 1) {
    const [one, other] = [a.charCodeAt(at), b.charCodeAt(at)];
    if (one === other) continue;
    if (one === SLASH) return -1;
    return other === SLASH ? 1 : one - other;
  }
  return a.length - b.length;
}

const SLASH = '/'.charCodeAt(0);

function duplicate(step: StepRunner, one: TreeEntry, other: TreeEntry): UnexpectedStateError {
  return new UnexpectedStateError(step.step, `duplicate entry /${one.path}`, {
    expected: 'each path once',
    found: `${one.source} and ${other.source}`,
  });
}

/** A directory that no source contains. */
const NEW_DIRECTORY: TreeEntry = {
  path: '',
  type: 'directory',
  mode: 0o755,
  uid: 0,
  gid: 0,
  sizeBytes: 0,
  mtime: 1,
  source: '',
  target: '',
  hardLink: undefined,
};

/** The bytes of a name, decoded as latin1. */
function latin1(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1');
}

/** A directory of this host that is being read. */
interface OpenDirectory {
  readonly source: string;
  readonly path: string;
  readonly names: readonly string[];
  next: number;
}

/** Reads trees of this host with synchronous calls: a promise for each file would take longer than the call. */
class HostWalk {
  readonly #step: string;
  readonly #splitLinks: boolean;

  constructor(step: string, splitLinks: boolean) {
    this.#step = step;
    this.#splitLinks = splitLinks;
  }

  /** Walks a directory and everything below it. @param start may be a symbolic link to it. */
  *below(start: string, path: string): Generator<TreeEntry> {
    yield* this.#walk(latin1(start), path, statSync(start));
  }

  /** Walks a file, a symbolic link, or a directory and everything below it. */
  *from(start: string, path: string): Generator<TreeEntry> {
    yield* this.#walk(latin1(start), path, lstatSync(start));
  }

  *#walk(start: string, startPath: string, startFacts: Stats): Generator<TreeEntry> {
    yield this.#entry(start, startPath, startFacts);
    if (!startFacts.isDirectory()) return;
    const open = [readNames(start, startPath)];
    for (let last = open.at(-1); last !== undefined; last = open.at(-1)) {
      const name = last.names[last.next];
      if (name === undefined) {
        open.pop();
        continue;
      }
      last.next += 1;
      const source = `${last.source}/${name}`;
      const path = last.path === '' ? name : `${last.path}/${name}`;
      const facts = lstatSync(bytesOf(source));
      yield this.#entry(source, path, facts);
      if (facts.isDirectory()) open.push(readNames(source, path));
    }
  }

  #entry(source: string, path: string, facts: Stats): TreeEntry {
    const type = typeOf(facts);
    if (type === undefined)
      throw new UnexpectedStateError(this.#step, `cannot put /${path} into an image`, {
        expected: 'a file, a directory, a symbolic link or a FIFO',
        found: facts.isSocket() ? 'a socket' : 'a device',
      });
    return {
      path,
      type,
      mode: facts.mode & 0o7777,
      uid: 0,
      gid: 0,
      sizeBytes: facts.size,
      mtime: Math.floor(facts.mtimeMs / 1000),
      source,
      target: type === 'symlink' ? readlinkSync(bytesOf(source), 'latin1') : '',
      hostBytes: Math.min(facts.size, facts.blocks * SECTOR_BYTES) / (this.#splitLinks ? 1 : facts.nlink),
      hardLink: facts.nlink > 1 && type === 'file' && !this.#splitLinks ? `${facts.dev}:${facts.ino}` : undefined,
    };
  }
}

function readNames(source: string, path: string): OpenDirectory {
  // Sorted by code units, which in latin1 are the bytes of the names.
  return { source, path, names: readdirSync(bytesOf(source), 'latin1').sort(), next: 0 };
}

const HAS_OTHER_THAN_ASCII = /[^\0-\x7f]/;

/** The bytes of a name, or a string if it is ASCII, which Node handles faster. */
function bytesOf(name: string): string | Buffer {
  return HAS_OTHER_THAN_ASCII.test(name) ? Buffer.from(name, 'latin1') : name;
}

function typeOf(facts: Stats): TreeEntryType | undefined {
  if (facts.isFile()) return 'file';
  if (facts.isDirectory()) return 'directory';
  if (facts.isSymbolicLink()) return 'symlink';
  return facts.isFIFO() ? 'fifo' : undefined;
}
