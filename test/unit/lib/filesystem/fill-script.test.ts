import { expect, test } from 'vitest';
import { type ContentPlan, countInodes, fillScript } from '../../../../lib/filesystem/ext4-fill.ts';
import type { TreeEntry } from '../../../../lib/filesystem/tree.ts';

const entry = (path: string, type: TreeEntry['type'], more: Partial<TreeEntry> = {}): TreeEntry => ({
  ...{ path, type, mode: type === 'folder' ? 0o755 : type === 'symlink' ? 0o777 : 0o644, uid: 0, gid: 0, sizeBytes: 1 },
  ...{ mtime: 1, source: `/from/${path}`, target: '', hardLink: undefined },
  ...more,
});
async function script(tree: readonly TreeEntry[], plan?: ContentPlan): Promise<string[]> {
  let text = '';
  for await (const line of fillScript({ step: 'test' }, tree, 1, plan)) text += line;
  return text.trim().split('\n');
}

test('folders are entered and left, and only what differs from debugfs’s own is set', async () => {
  const tree = [
    entry('', 'folder', { mode: 0o700 }),
    entry('a', 'folder'),
    entry('a/b', 'folder', { mode: 0o555 }),
    entry('a/b/file', 'file', { uid: 1000, gid: 100, mtime: 5 }),
    entry('c', 'folder'),
    entry('c/link', 'symlink', { target: '../a' }),
  ];
  expect(await script(tree)).toEqual([
    'set_current_time @1',
    'sif "/" mode 040700',
    'mkdir "a"',
    'cd "a"',
    'mkdir "b"',
    'sif "b" mode 040555',
    'set_current_time @5',
    'cd "b"',
    'write "/from/a/b/file" "file"',
    'sif "file" mode 0100644',
    'sif "file" uid 1000',
    'sif "file" gid 100',
    'set_current_time @1',
    'cd ..',
    'cd ..',
    'mkdir "c"',
    'cd "c"',
    'symlink "link" "../a"',
  ]);
});

test('where the content is written afterwards, an entry goes by its inode, and gets the blocks that are not zeros', async () => {
  let inode = 11;
  const plan: ContentPlan = {
    nextInode: () => {
      inode += 1;
      return inode;
    },
    runs: async () => [
      { start: 0, count: 2 },
      { start: 12, count: 1 },
    ],
  };
  const tree = [
    entry('a', 'folder', { mode: 0o700 }),
    entry('a/empty', 'file', { sizeBytes: 0 }),
    entry('a/same', 'file', { hardLink: '1:2', sizeBytes: 0 }),
    entry('b', 'file', { hardLink: '1:2', sizeBytes: 0 }),
    entry('c', 'file', { mode: 0o4755, sizeBytes: 50_000 }),
  ];
  expect((await script(tree, plan)).slice(1)).toEqual([
    'mkdir "a"',
    'sif <12> mode 040700',
    'cd "a"',
    'write /dev/null "empty"',
    'sif <13> mode 0100644',
    'write /dev/null "same"',
    'sif <14> mode 0100644',
    'cd ..',
    'ln "/a/same" "b"',
    'sif "b" links_count 2',
    'write /dev/null "c"',
    'sif <15> mode 0104755',
    'fallocate <15> 0 1',
    'fallocate <15> 12 12',
    'sif <15> size 50000',
  ]);
});

test('a hard link takes no inode, and the count of links is kept', async () => {
  const tree = ['x', 'y', 'z'].map((name) => entry(name, 'file', { hardLink: '1:2' }));
  expect((await script(tree)).slice(1)).toEqual([
    'write "/from/x" "x"',
    'sif "x" mode 0100644',
    'ln "/x" "y"',
    'sif "y" links_count 2',
    'ln "/x" "z"',
    'sif "z" links_count 3',
  ]);
  expect(countInodes([...tree, entry('other', 'file')])).toBe(2);
});

test('quotes are doubled, and what debugfs cannot take is refused', async () => {
  expect((await script([entry('a "b"', 'file', { source: '/x' })]))[1]).toBe('write "/x" "a ""b"""');
  await expect(script([entry('a\nb', 'file')])).rejects.toThrow(/takes no newline in a name/);
});
