import { lstat, mkdir, readlink, symlink, writeFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { makePrivateDirectory, removeTree } from '../host-files/private-output.ts';
import type { RunResult } from '../run/executor.ts';
import type { StepRunner } from '../run/step.ts';
import { storeDirectory, type TreeSource } from './tree.ts';

/** The script that runs in the namespaces. It is constant; lists are passed in files: $1 an fstab of bind mounts, $2 a
 *  NUL-separated list of owners and paths, then the command. */
const IN_NAMESPACE = `
binds=$1 owners=$2
shift 2
mount --all --fstab "$binds"
# If only this user is mapped, chown fails with EINVAL, not EPERM, which fakeroot would not ignore.
export FAKEROOTDONTTRYCHOWN=1
exec fakeroot -- sh -euc '
owners=$1
shift
xargs -0 -r -n 2 chown -hR < "$owners"
exec "$@"
' fill "$owners" "$@"
`;

/** fakeroot's daemon leaves the process group and keeps message queues. Its own namespaces end with the command. */
const ENDS_WITH_IT = ['--pid', '--fork', '--kill-child', '--ipc'];

/** Runs a program that fills a filesystem from a directory. Merges the staged root and the closure into that directory,
 *  in a mount namespace into which store paths are bind-mounted, and runs the program under fakeroot, so that root owns
 *  all files. The store is not modified. Store paths with hard links to files outside the closure, as in an optimised
 *  store, are copied instead, because such programs take link counts from the host.
 *  @param beside a path in the directory for temporary copies.
 *  @see unshare(1), fstab(5), fakeroot(1). Runs: find, cp, unshare, mount, fakeroot, xargs, chown. */
export async function runOnMergedTree(
  step: StepRunner,
  source: TreeSource,
  beside: string,
  command: (root: string) => readonly string[],
): Promise<RunResult> {
  await using work = await makePrivateDirectory(dirname(beside));
  const merged = join(work.path, 'merged');
  await mkdir(merged);
  const binds: { readonly from: string; readonly at: string }[] = [];
  const { store = '/', storePaths = [] } = source.closure ?? {};
  const mergedStore = join(merged, source.closure === undefined ? '' : storeDirectory(source.closure));
  if (source.root !== undefined) {
    // The staged root is small compared with the store paths. It is copied, so that they can be mounted into it.
    await removeTree(merged);
    await step.run(['cp', '--archive', '--', source.root, merged], { what: `cannot copy ${source.root}` });
  }
  if (storePaths.length > 0) await mkdir(mergedStore, { recursive: true });
  const copied = await linkedOutside(
    step,
    storePaths.map((storePath) => join(resolve(store), storePath)),
  );
  if (copied.size > 0)
    step.note(`copying ${copied.size} store paths first: their files have hard links outside the closure`);
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
  const pairs = (source.owners ?? []).flatMap(({ target, uid, gid }) => [`${uid}:${gid}`, join(merged, target)]);
  await writeFile(
    fstab,
    binds.map(({ from, at }) => `${fstabEscape(from)} ${fstabEscape(at)} none bind 0 0\n`).join(''),
  );
  await writeFile(owners, pairs.map((item) => `${item}\0`).join(''));
  const asRoot = process.getuid?.() === 0 ? [] : ['--map-root-user'];
  const inNamespace = [
    ...['unshare', ...asRoot, '--mount', '--propagation', 'private', ...ENDS_WITH_IT, '--'],
    ...['sh', '-euc', IN_NAMESPACE, 'merged-tree', fstab, owners],
    ...command(merged),
  ];
  return await step.tryRun(inNamespace, { answers: 'any' });
}

/** Escapes a path for fstab(5). */
function fstabEscape(path: string): string {
  return path.replace(/[\s\\#]/g, (character) => `\\${character.charCodeAt(0).toString(8).padStart(3, '0')}`);
}

/** Finds store paths with a file that has more hard links than names in the closure. */
async function linkedOutside(step: StepRunner, paths: readonly string[]): Promise<Set<string>> {
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
  return new Set([...inodes.values()].filter(({ links, names }) => names < links).flatMap((inode) => [...inode.paths]));
}
