import type { RunResult } from '../run/executor.ts';
import type { TreeEntry } from './tree.ts';

/** A subvolume of a btrfs. @see btrfs-subvolume(8) */
export interface Subvolume {
  /** Its path from the top level of the filesystem, without a leading slash: "@home". */
  readonly path: string;
  /** The directory of the filesystem's tree whose files it gets, where it will be mounted: "/home". Undefined for one that is
   *  not mounted. */
  readonly directory?: string | undefined;
}

/** The version of btrfs-progs that makes subvolumes without a kernel. @see mkfs.btrfs(8), --subvol */
const SINCE = [6, 12] as const;

/** What prevents mkfs.btrfs from making subvolumes; undefined if it can.
 *  @param version the result of `mkfs.btrfs --version` */
export function problemWithVersion({ stdout }: RunResult): string | undefined {
  const [, found = '', major, minor] = /v((\d+)\.(\d+)\S*)/.exec(stdout.toString('utf8')) ?? [];
  const isOld = Number(major) < SINCE[0] || (Number(major) === SINCE[0] && Number(minor) < SINCE[1]);
  return isOld ? `mkfs.btrfs ${found} cannot make subvolumes; btrfs-progs can since ${SINCE.join('.')}` : undefined;
}

/** Where a path of the tree is in the filesystem. @param path without a leading slash, as the result; '' is the root. */
export function placeIn(subvolumes: readonly Subvolume[], path: string): string {
  const holder = subvolumes
    .filter(({ directory }) => directory !== undefined && isAtOrIn(path, directory.slice(1)))
    .sort((a, b) => (b.directory?.length ?? 0) - (a.directory?.length ?? 0))[0];
  if (holder?.directory === undefined) return path;
  const rest = path.slice(holder.directory.length - 1).replace(/^\//, '');
  return rest === '' ? holder.path : `${holder.path}/${rest}`;
}

/** Where the directory is on which a subvolume is mounted. */
export function mountDirectory(subvolumes: readonly Subvolume[], directory: string): string {
  return placeIn(
    subvolumes.filter((one) => one.directory !== directory),
    directory.slice(1),
  );
}

function isAtOrIn(path: string, directory: string): boolean {
  return directory === '' || path === directory || path.startsWith(`${directory}/`);
}

/** The entries of a filesystem with subvolumes: those of the tree, each at its place, the directories on which subvolumes are
 *  mounted, and the directories above subvolumes. Only their paths and owners count. Parents come first. */
export function* inSubvolumes(
  tree: Iterable<TreeEntry>,
  given: readonly Subvolume[],
): Generator<Pick<TreeEntry, 'path' | 'uid' | 'gid'>> {
  // As walkTree has names.
  const subvolumes = given.map(({ path, directory }) => ({
    path: bytes(path),
    directory: directory && bytes(directory),
  }));
  const ofRoot = (path: string): Pick<TreeEntry, 'path' | 'uid' | 'gid'> => ({ path, uid: 0, gid: 0 });
  yield ofRoot('');
  const made = new Set(subvolumes.flatMap(({ path }) => withParents(path)));
  for (const path of [...made].sort((a, b) => a.length - b.length)) yield ofRoot(path);
  const missing = new Set(subvolumes.flatMap(({ directory = '/' }) => withParents(directory.slice(1))));
  for (const { path, uid, gid } of tree) {
    missing.delete(path);
    const mounted = subvolumes.find(({ directory }) => directory === `/${path}`);
    if (mounted !== undefined && path !== '') yield { path: mountDirectory(subvolumes, `/${path}`), uid, gid };
    yield { path: placeIn(subvolumes, path), uid, gid };
  }
  for (const path of [...missing].sort((a, b) => a.length - b.length))
    yield ofRoot(mountDirectory(subvolumes, `/${path}`));
}

function bytes(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1');
}

/** "a/b" and "a"; nothing for ''. */
function withParents(path: string): string[] {
  const names = path.split('/').filter(Boolean);
  return names.map((_, index) => names.slice(0, index + 1).join('/'));
}
