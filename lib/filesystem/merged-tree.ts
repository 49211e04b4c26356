import { lstat, mkdir, readlink, symlink, writeFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { makePrivateDirectory, removeTree } from '../host-files/private-output.ts';
import type { RunResult } from '../run/executor.ts';
import type { StepRunner } from '../run/step.ts';
import type { TreeSource } from './tree.ts';

/** What runs in the namespaces: a constant; lists come in as files. $1 an fstab of bind mounts, $2 a list of pairs (owner,
 *  path), each NUL-ended; the command follows. */
const IN_NAMESPACE = `
binds=$1 owners=$2
shift 2
mount --all --fstab "$binds"
# Where only this user has an id, the kernel does not even refuse another: it says that there is none.
export FAKEROOTDONTTRYCHOWN=1
exec fakeroot -- sh -euc '
owners=$1
shift
xargs -0 -r -n 2 chown -hR < "$owners"
exec "$@"
' fill "$owners" "$@"
`;

/** fakeroot's daemon leaves the process group, and keeps message queues: namespaces of its own end with the command. */
const ENDS_WITH_IT = ['--pid', '--fork', '--kill-child', '--ipc'];

/** Runs a program that fills a filesystem from a directory, with the staged root and the closure as that one directory, and every
 *  file root's: in a mount namespace of its own, where store paths are bound, and under fakeroot. The store is not written
 *  to. Copied are only store paths with hard links to files outside of the closure, as an optimised store has them: such
 *  programs take the number of a file's links from the host.
 *  @param beside a path in the directory for what must be copied.
 *  @see unshare(1), fstab(5), fakeroot(1). Runs: find, cp, unshare, mount, fakeroot, xargs, chown. */
export async function runOnMergedTree(
  step: StepRunner,
  source: TreeSource,
  beside: string,
  command: (root: string) => readonly string[],
): Promise<RunResult> {
  await using work = await makePrivateDirectory(dirname(beside));
  const merged = join(work.path, 'merged');
  await mkdir(join(merged, 'nix/store'), { recursive: true });
  const binds: { readonly from: string; readonly at: string }[] = [];
  const { store = '/', storePaths = [] } = source.closure ?? {};
  if (source.root !== undefined) {
    // The staged root is small: store paths are what is large. It is copied to where they can be bound into it.
    await removeTree(merged);
    await step.run(['cp', '--archive', '--', source.root, merged], { what: `cannot copy ${source.root}` });
    await mkdir(join(merged, 'nix/store'), { recursive: true });
  }
  const copied = await linkedOutside(
    step,
    storePaths.map((storePath) => join(resolve(store), storePath)),
  );
  if (copied.size > 0)
    step.note(
      `${copied.size} store paths are copied first: their files are hard links to others outside of the closure`,
    );
  for (const storePath of storePaths) {
    const from = join(resolve(store), storePath);
    const at = join(merged, 'nix/store', basename(storePath));
    const facts = await lstat(from);
    if (facts.isSymbolicLink()) await symlink(await readlink(from), at);
    else if (copied.has(from))
      await step.run(['cp', '--archive', '--no-preserve=links', '--reflink=auto', '--', from, at]);
    else {
      // The place that it is bound to.
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

/** As fstab(5) takes a path. */
function fstabEscape(path: string): string {
  return path.replace(/[\s\\#]/g, (character) => `\\${character.charCodeAt(0).toString(8).padStart(3, '0')}`);
}

/** Store paths with a file that has more links than the closure has names for it. */
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
