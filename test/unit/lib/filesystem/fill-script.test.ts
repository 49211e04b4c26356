import { expect, test } from 'vitest';
import { countInodes, fillScript } from '../../../../lib/filesystem/ext4.ts';
import type { TreeEntry } from '../../../../lib/filesystem/tree.ts';

const entry = (path: string, type: TreeEntry['type'], more: Partial<TreeEntry> = {}): TreeEntry => ({
  ...{ path, type, mode: type === 'folder' ? 0o755 : type === 'symlink' ? 0o777 : 0o644, uid: 0, gid: 0, sizeBytes: 1 },
  ...{ mtime: 1, source: `/from/${path}`, sourceMode: 0o644, target: '', hardLink: undefined },
  ...more,
});
const script = (tree: readonly TreeEntry[]): string[] =>
  [...fillScript({ step: 'test' }, tree, 1)].join('').trim().split('\n');

test('folders are entered and left, and only what differs from debugfs’s own is set', () => {
  const tree = [
    entry('', 'folder', { mode: 0o700 }),
    entry('a', 'folder'),
    entry('a/b', 'folder', { mode: 0o555 }),
    entry('a/b/file', 'file', { uid: 1000, gid: 100, mtime: 5 }),
    entry('c', 'folder'),
    entry('c/link', 'symlink', { target: '../a' }),
  ];
  expect(script(tree)).toEqual([
    'set_current_time @1',
    'sif "/" mode 040700',
    'mkdir "a"',
    'cd "a"',
    'mkdir "b"',
    'sif "b" mode 040555',
    'set_current_time @5',
    'cd "b"',
    'write "/from/a/b/file" "file"',
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

test('a mode that the source has not is set', () => {
  const modes = (sourceMode: number | undefined) => script([entry('f', 'file', { mode: 0o640, sourceMode })]).slice(2);
  expect(modes(0o640)).toEqual([]);
  expect(modes(0o644)).toEqual(['sif "f" mode 0100640']);
  expect(modes(undefined)).toEqual(['sif "f" mode 0100640']);
});

test('a hard link takes no inode, and the count of links is kept', () => {
  const tree = ['x', 'y', 'z'].map((name) => entry(name, 'file', { hardLink: '1:2' }));
  expect(script(tree).slice(1)).toEqual([
    'write "/from/x" "x"',
    'ln "/x" "y"',
    'sif "y" links_count 2',
    'ln "/x" "z"',
    'sif "z" links_count 3',
  ]);
  expect(countInodes([...tree, entry('other', 'file')])).toBe(2);
});

test('quotes are doubled, and what debugfs cannot take is refused', () => {
  expect(script([entry('a "b"', 'file', { source: '/x' })])[1]).toBe('write "/x" "a ""b"""');
  expect(() => script([entry('a\nb', 'file')])).toThrow(/takes no newline in a name/);
});
