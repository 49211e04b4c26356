import { chmod, lstat, mkdir, readlink, realpath, rename, symlink, writeFile } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { makePrivateDirectory, removeTree } from '../host-files/private-output.ts';
import { isErrno } from '../run/errno.ts';
import { UnexpectedStateError } from '../run/errors.ts';
import type { RunResult } from '../run/executor.ts';
import type { StepRunner } from '../run/step.ts';
import { mountDirectory, placeIn, type Subvolume } from './subvolumes.ts';
import { storeDirectory, type TreeSource } from './tree.ts';

/** The script that runs in the namespaces. It is constant; lists are passed in files: $1 an fstab of bind mounts, $2 a
 *  NUL-separated list of owners and paths, $3 and $4 the scripts below, then the command. */
const IN_NAMESPACE = `
binds=$1 owners=$2 fill=$3 own=$4
shift 4
mount --all --fstab "$binds"
# If only this user is mapped, chown fails with EINVAL, not EPERM, which fakeroot would not ignore.
export FAKEROOTDONTTRYCHOWN=1
# Times are given as arguments, which mksquashfs refuses beside this variable.
unset SOURCE_DATE_EPOCH
exec fakeroot -- sh -euc "$fill" fill "$owners" "$own" "$@"
`;

/** Sets the owners, and runs the command. */
const FILL = `
owners=$1 own=$2
shift 2
xargs -0 -r -n 2 sh -euc "$own" own < "$owners"
exec "$@"
`;

/** Sets the owner of a path and everything below it, if it exists. */
const OWN = `
if [ -e "$2" ] || [ -L "$2" ]; then exec chown -hR "$1" "$2"; fi
`;

/** fakeroot's daemon leaves the process group and keeps message queues. Its own namespaces end with the command. */
const ENDS_WITH_IT = ['--pid', '--fork', '--kill-child', '--ipc'];

/** Runs a program that fills a filesystem from a directory. Merges the staged root and the closure into that directory,
 *  in a mount namespace into which store paths are bind-mounted, and runs the program under fakeroot, so that root owns
 *  all files. The store is not modified. Store paths with hard links to files outside the closure, as in an optimised
 *  store, are copied instead, because such programs take link counts from the host.
 *  @param beside a path in the directory for temporary copies.
 *  @param subvolumes of a btrfs: their directories are put where the subvolumes will be.
 *  @see unshare(1), fstab(5), fakeroot(1). Runs: find, cp, unshare, mount, fakeroot, xargs, chown. */
export async function runOnMergedTree(
  step: StepRunner,
  source: TreeSource,
  beside: string,
  command: (root: string) => readonly string[],
  subvolumes: readonly Subvolume[] = [],
): Promise<RunResult> {
  await using work = await makePrivateDirectory(dirname(beside));
  const staged = join(work.path, 'staged');
  const merged = subvolumes.length === 0 ? staged : join(work.path, 'merged');
  await mkdir(staged);
  await chmod(staged, DIRECTORY_MODE);
  const binds: { readonly from: string; readonly at: string }[] = [];
  const { store = '/', storePaths = [] } = source.closure ?? {};
  const storeAt = source.closure === undefined ? '' : storeDirectory(source.closure);
  const mergedStore = join(merged, placeIn(subvolumes, storeAt));
  if (source.root !== undefined) {
    // The staged root is small compared with the store paths. It is copied, so that they can be mounted into it.
    await removeTree(staged);
    const from = await realpath(source.root);
    await step.run(['cp', '--archive', '--', from, staged], { what: `cannot copy ${source.root}` });
    if (process.getuid?.() !== 0) await setSpecialBits(step, from, staged);
  }
  if (subvolumes.length > 0) await moveIntoSubvolumes(step.step, staged, merged, subvolumes);
  if (storePaths.length > 0) await makeParents(merged, mergedStore);
  const copied = await linkedOutside(
    step,
    storePaths.map((storePath) => join(resolve(store), storePath)),
    // In a reproducible image, hard links in the store are split: they depend on how the store was optimised.
    source.timestamp !== undefined,
  );
  if (copied.size > 0)
    step.note(
      `copying ${copied.size} store paths first: their files have hard links${source.timestamp === undefined ? ' outside the closure' : ''}`,
    );
  for (const storePath of storePaths) {
    const from = join(resolve(store), storePath);
    const at = join(mergedStore, basename(storePath));
    const facts = await lstat(from);
    if (facts.isSymbolicLink()) await symlink(await readlink(from), at);
    else if (copied.has(from))
      await step.run(['cp', '--archive', '--no-preserve=links', '--reflink=auto', '--', from, at]);
    else {
      // The mount point.
      if (facts.isDirectory()) await mkdir(at);
      else await writeFile(at, '', { flag: 'wx' });
      binds.push({ from, at });
    }
  }
  const fstab = join(work.path, 'binds');
  const owners = join(work.path, 'owners');
  const pairs = (source.owners ?? []).flatMap(({ target, uid, gid }) => [
    `${uid}:${gid}`,
    join(merged, placeIn(subvolumes, resolve('/', target).slice(1))),
  ]);
  await writeFile(
    fstab,
    binds.map(({ from, at }) => `${fstabEscape(from)} ${fstabEscape(at)} none bind 0 0\n`).join(''),
  );
  await writeFile(owners, pairs.map((item) => `${item}\0`).join(''));
  const asRoot = process.getuid?.() === 0 ? [] : ['--map-root-user'];
  const inNamespace = [
    ...['unshare', ...asRoot, '--mount', '--propagation', 'private', ...ENDS_WITH_IT, '--'],
    ...['sh', '-euc', IN_NAMESPACE, 'merged-tree', fstab, owners, FILL, OWN],
    ...command(merged),
  ];
  return await step.tryRun(inNamespace, { answers: 'any' });
}

/** Moves the directories on which subvolumes will be mounted to the places of the subvolumes. An empty directory stays. */
async function moveIntoSubvolumes(
  step: string,
  staged: string,
  merged: string,
  subvolumes: readonly Subvolume[],
): Promise<void> {
  const top = subvolumes.find(({ directory }) => directory === '/');
  const root = join(merged, top?.path ?? '');
  if (top !== undefined) {
    await mkdir(merged);
    await chmod(merged, DIRECTORY_MODE);
    await makeParents(merged, dirname(root));
  }
  await rename(staged, root);
  // Directories before those in them.
  const others = subvolumes
    .filter((one) => one !== top)
    .sort((a, b) => (a.directory?.length ?? 0) - (b.directory?.length ?? 0) || a.path.length - b.path.length);
  for (const { path, directory } of others) {
    const to = join(merged, path);
    const from = directory === undefined ? to : join(merged, mountDirectory(subvolumes, directory));
    const facts = await lstat(from).catch(() => undefined);
    if (facts?.isDirectory() === false)
      throw new UnexpectedStateError(
        step,
        `${directory ?? `/${path}`} is not a directory, so that it cannot be a subvolume`,
      );
    if (from === to || facts === undefined) await makeParents(merged, to);
    else {
      await makeParents(merged, dirname(to));
      if ((await lstat(to).catch(() => undefined)) !== undefined)
        throw new UnexpectedStateError(
          step,
          `/${path} has files already, so that it cannot be the subvolume for ${directory}`,
        );
      await rename(from, to);
    }
    if (from === to) continue;
    await makeParents(merged, from);
    await chmod(from, facts === undefined ? DIRECTORY_MODE : facts.mode & 0o7777);
  }
}

/** Escapes a path for fstab(5). */
function fstabEscape(path: string): string {
  return path.replace(/[\s\\#]/g, (character) => `\\${character.charCodeAt(0).toString(8).padStart(3, '0')}`);
}

/** As in a system, whatever the umask is. */
const DIRECTORY_MODE = 0o755;

async function makeParents(root: string, directory: string): Promise<void> {
  for (const at of ancestors(root, directory))
    await mkdir(at).then(
      () => chmod(at, DIRECTORY_MODE),
      (error: unknown) => {
        if (!isErrno(error, 'EEXIST')) throw error;
      },
    );
}

/** The directories from below `root` to `directory`, parents first. */
function ancestors(root: string, directory: string): string[] {
  const names = relative(root, directory).split('/').filter(Boolean);
  return names.map((_, index) => join(root, ...names.slice(0, index + 1)));
}

/** Sets the setuid and setgid bits, which cp clears where it cannot set the owner. */
async function setSpecialBits(step: StepRunner, from: string, to: string): Promise<void> {
  const { stdout } = await step.run(['find', from, '-perm', '/6000', '-not', '-type', 'l', '-printf', '%m %P\\0']);
  const lines = stdout.toString('latin1').split('\0').filter(Boolean);
  for (const line of lines) {
    const space = line.indexOf(' ');
    const path = Buffer.concat([Buffer.from(`${to}/`), Buffer.from(line.slice(space + 1), 'latin1')]);
    await chmod(path, Number.parseInt(line.slice(0, space), 8));
  }
}

/** Finds store paths with a file that has more hard links than names in the closure, or `all` with hard links. */
async function linkedOutside(step: StepRunner, paths: readonly string[], all: boolean): Promise<Set<string>> {
  if (paths.length === 0) return new Set();
  const { stdout } = await step.run(['find', ...paths, '-type', 'f', '-links', '+1', '-printf', '%D:%i %n %H\\0']);
  const inodes = new Map<string, { links: number; names: number; readonly paths: Set<string> }>();
  for (const line of stdout.toString('utf8').split('\0')) {
    const [, inode, links, path] = /^(\S+) (\d+) (.*)$/s.exec(line) ?? [];
    if (inode === undefined || path === undefined) continue;
    const known = inodes.get(inode) ?? { links: Number(links), names: 0, paths: new Set<string>() };
    known.names += 1;
    known.paths.add(path);
    inodes.set(inode, known);
  }
  return new Set(
    [...inodes.values()].filter(({ links, names }) => all || names < links).flatMap((inode) => [...inode.paths]),
  );
}
