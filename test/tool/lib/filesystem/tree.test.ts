import { link, mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { listTree, type TreeEntry, type TreeSource } from '../../../../lib/filesystem/tree.ts';
import { runStep } from '../../../../lib/run/step.ts';
import { HASH } from '../../../helpers/fake-system.ts';
import { run } from '../../../helpers/run.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

const list = (source: TreeSource): Promise<TreeEntry[]> =>
  runStep('test', undefined, undefined, (step) => listTree(step, source));

async function sources() {
  const directory = await tempDirectory();
  const [root, store] = [join(directory, 'root'), join(directory, 'store')];
  const path = `/nix/store/${HASH}-one`;
  await mkdir(join(root, 'etc'), { recursive: true });
  await writeFile(join(root, 'etc/file'), 'x');
  await writeFile(join(root, 'etc.conf'), 'x');
  await symlink('etc/file', join(root, 'link'));
  await mkdir(join(store, path), { recursive: true });
  await writeFile(join(store, path, 'a'), 'same');
  await link(join(store, path, 'a'), join(store, path, 'b'));
  return { root, closure: { store, storePaths: [path] }, path };
}

test('a directory’s entries follow it without a gap, and the closure is in the store', async () => {
  const { root, closure } = await sources();
  const tree = await list({ root, closure, owners: [{ target: '/etc', uid: 5, gid: 6 }] });
  expect(tree.map(({ path }) => path)).toEqual([
    ...['', 'etc', 'etc/file', 'etc.conf', 'link', 'nix', 'nix/store'],
    ...['', '/a', '/b'].map((name) => `nix/store/${HASH}-one${name}`),
  ]);
  const byPath = new Map(tree.map((entry) => [entry.path, entry]));
  expect(byPath.get('etc/file')).toMatchObject({ type: 'file', uid: 5, gid: 6, sizeBytes: 1 });
  expect(byPath.get('etc.conf')).toMatchObject({ uid: 0, gid: 0 });
  expect(byPath.get('link')).toMatchObject({ type: 'symlink', target: 'etc/file' });
});

test('hard links are kept, except in a reproducible image, which must not depend on the store’s optimisation', async () => {
  const { closure, path } = await sources();
  const links = async (timestamp?: number): Promise<(string | undefined)[]> =>
    (await list({ closure, timestamp }))
      .filter((entry) => entry.path.startsWith(`${path.slice(1)}/`))
      .map((entry) => entry.hardLink);
  const [a, b] = await links();
  expect(a).toBeDefined();
  expect(a).toBe(b);
  expect(await links(1)).toEqual([undefined, undefined]);
});

test('names that are not UTF-8 keep their bytes', async () => {
  const { root } = await sources();
  await run(['sh', '-c', `cd "$0" && : > "$(printf 'caf\\351')"`, root]);
  expect((await list({ root })).map(({ path }) => path)).toContain('caf\u00e9');
});

test('a store path that is also in the staged root is refused, and so is a socket', async () => {
  const { root, closure, path } = await sources();
  await mkdir(join(root, path), { recursive: true });
  await expect(list({ root, closure })).rejects.toThrow(/duplicate entry \/nix\/store/);
  const other = await sources();
  await run(['python3', '-c', 'import socket, sys; socket.socket(socket.AF_UNIX).bind("s")'], { cwd: other.root });
  await expect(list({ root: other.root })).rejects.toThrow(/cannot put \/s into an image/);
});
