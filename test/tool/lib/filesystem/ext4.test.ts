import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { TreeEntry } from '../../../../lib/filesystem/tree.ts';
import { createDisk } from '../../../../lib/steps/create-disk.ts';
import { makeFilesystem } from '../../../../lib/steps/make-filesystem.ts';
import { MIB } from '../../../../lib/units.ts';
import { run } from '../../../helpers/run.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

const entry = (path: string, type: TreeEntry['type'], more: Partial<TreeEntry> = {}): TreeEntry => ({
  ...{ path, type, mode: type === 'directory' ? 0o755 : 0o644, uid: 0, gid: 0, sizeBytes: 0, mtime: 1 },
  ...{ source: '', target: type === 'symlink' ? 'x' : '', hardLink: undefined },
  ...more,
});

const numbered = (count: number, make: (index: number) => TreeEntry): TreeEntry[] =>
  Array.from({ length: count }, (_, index) => make(index));

/** Writes an image with these entries and checks it with e2fsck. */
async function filled(entries: readonly TreeEntry[], sizeBytes = 64 * MIB) {
  const directory = await tempDirectory();
  const image = join(directory, 'disk.img');
  await createDisk({ image, sizeBytes });
  const partition = { offsetBytes: 0, sizeBytes };
  const made = await makeFilesystem({ image, partition, files: entries, inodeCount: entries.length + 64 });
  await run(['e2fsck', '-fn', image]);
  const ask = (request: string): Promise<string> => run(['debugfs', '-R', request, image]);
  return { image, made, ask };
}

const INDEXED = 0x1000;
const flagsIn = (text: string): number => Number(/Flags: (0x\w+)/.exec(text)?.[1]);

test('a directory of one block has no index, a larger one has', async () => {
  const { ask } = await filled([
    entry('few', 'directory'),
    ...numbered(50, (index) => entry(`few/${index}`, 'symlink')),
    entry('many', 'directory'),
    ...numbered(3000, (index) => entry(`many/name-${index}`, 'symlink')),
  ]);
  expect(flagsIn(await ask('stat /few')) & INDEXED).toBe(0);
  expect(flagsIn(await ask('stat /many')) & INDEXED).toBe(INDEXED);
  const index = await ask('htree_dump /many');
  expect(index).toMatch(/Hash Version: 1/);
  expect(index).toMatch(/Indirect levels: 0/);
  // By name, and by listing the whole directory.
  expect(await ask('stat /many/name-2999')).toMatch(/Type: symlink/);
  expect((await ask('ls -p /many')).match(/name-/g)).toHaveLength(3000);
});

test('a directory with more blocks than one index block can list has a two-level index', async () => {
  const count = 20_000;
  const { ask } = await filled(
    numbered(count, (index) => entry(`${index}`.padEnd(250, 'n'), 'symlink')),
    128 * MIB,
  );
  expect(await ask('htree_dump /')).toMatch(/Indirect levels: 1/);
  expect((await ask('ls -p /')).match(/nnn\//g)).toHaveLength(count);
});

test('names with the same hash are found on both sides of a block boundary', async () => {
  // So many names that some 31-bit hashes collide.
  const count = 200_000;
  const { made } = await filled(
    numbered(count, (index) => entry(`${index}`, 'symlink')),
    128 * MIB,
  );
  expect((made.inodeCount ?? 0) - (made.freeInodes ?? 0)).toBe(count + 11);
});

test.each([
  // Including "." and its own entry.
  [64_998, 65_000],
  [64_999, 1],
])('a directory with %i subdirectories has %i links', async (count, links) => {
  const { ask } = await filled(
    [entry('d', 'directory'), ...numbered(count, (index) => entry(`d/${index}`, 'directory'))],
    400 * MIB,
  );
  expect(await ask('stat /d')).toMatch(new RegExp(`Links: ${links}\\s`));
});

test('a file with more names than the link count can express is split', async () => {
  const directory = await tempDirectory();
  const source = join(directory, 'file');
  await using handle = await open(source, 'w');
  await handle.write('content');
  const count = 65_010;
  const { ask, made } = await filled(
    numbered(count, (index) => entry(`${index}`, 'file', { source, sizeBytes: 7, hardLink: 'one' })),
  );
  expect((made.inodeCount ?? 0) - (made.freeInodes ?? 0)).toBe(11 + 2);
  expect(await ask('stat <12>')).toMatch(/Links: 65000\s/);
  expect(await ask('stat <13>')).toMatch(/Links: 10\s/);
  expect(await ask('cat <13>')).toBe('content');
});

test('a name may have any bytes except slash and NUL', async () => {
  const names = [
    'new\nline',
    'quo"te',
    "apos'trophe",
    ' blanks ',
    '-dash',
    '$(x)',
    'caf\u00e9',
    '\\',
    '*',
    '\x01',
    'n'.repeat(255),
  ];
  const { ask } = await filled(names.map((name) => entry(name, 'fifo')));
  // debugfs escapes no byte of a name.
  const listed = Buffer.from(await ask('ls -p /')).toString('utf8');
  for (const name of names) if (!name.includes('\u00e9')) expect(listed).toContain(`/${name}/`);
});

test('lost+found is that of mkfs.ext4, with the given mode, and may contain files', async () => {
  const { ask } = await filled([
    entry('lost+found', 'directory', { mode: 0o711, uid: 5 }),
    entry('lost+found/#12', 'symlink'),
    entry('other', 'symlink'),
  ]);
  const shown = await ask('stat /lost+found');
  expect(shown).toMatch(/^Inode: 11 .*Mode: +0711/m);
  expect(shown).toMatch(/User: +5 /);
  expect(await ask('ls -p /lost+found')).toContain('/#12/');
});

test.each([
  ['an entry without its directory', [entry('a/b', 'symlink')], /"\/a\/b" into an ext4.*\/a is not before it/s],
  ['a name of 256 bytes', [entry('n'.repeat(256), 'symlink')], /its name has 256 bytes/],
  ['a target of 4096 bytes', [entry('l', 'symlink', { target: 'x'.repeat(4096) })], /its target has 4096 bytes/],
  ['a symbolic link instead of lost+found', [entry('lost+found', 'symlink')], /it is a symlink/],
  ['the same path twice', [entry('a', 'symlink'), entry('a', 'fifo')], /duplicate entry \/a/],
  ['a time after 2446', [entry('a', 'symlink', { mtime: 2 ** 34 })], /its time is 17179869184 s since 1970/],
] as const)('%s is refused', async (_, entries, message) => {
  await expect(filled(entries)).rejects.toThrow(message);
});

test('all kinds of modes, owners and times', async () => {
  const far = 2 ** 33;
  const { ask } = await filled([
    entry('d', 'directory', { mode: 0o2775, uid: 70_000, gid: 2 ** 32 - 2, mtime: far }),
    entry('d/fifo', 'fifo', { mode: 0o600 }),
  ]);
  const shown = await ask('stat /d');
  expect(shown).toMatch(/Mode: +02775/);
  // As a signed number.
  expect(shown).toMatch(/User: +70000 +Group: +-2/);
  // The two lowest bits of the second number extend the epoch.
  expect(shown).toMatch(/mtime: 0x00000000:00000002 --/);
  expect(await ask('stat /d/fifo')).toMatch(/Type: FIFO +Mode: +0600/);
});

test('extended attributes: in the inode, in a separate block, and an ACL', async () => {
  const capability = '0100000200200000000000000000000000000000';
  // The ACL of user 5, who may read, in the format for programs.
  const acl = '0200000001000600ffffffff020004000500000004000400ffffffff10000400ffffffff20000400ffffffff';
  const directory = await tempDirectory();
  const image = join(directory, 'disk.img');
  await createDisk({ image, sizeBytes: 32 * MIB });
  const partition = { offsetBytes: 0, sizeBytes: 32 * MIB };
  const entries = [
    entry('ping', 'fifo'),
    entry('labelled', 'directory'),
    entry('labelled/large', 'symlink'),
    entry('shared', 'fifo'),
  ];
  const attributes = [
    { target: '/ping', name: 'security.capability', value: capability },
    {
      target: '/labelled',
      name: 'security.selinux',
      value: Buffer.from('system_u:object_r:bin_t:s0\0').toString('hex'),
    },
    { target: '/labelled', name: 'user.empty', value: '' },
    { target: '/labelled/large', name: 'user.b', value: '62'.repeat(1001) },
    { target: '/labelled/large', name: 'user.a', value: '61'.repeat(2000) },
    { target: '/labelled/large', name: 'trusted.t', value: '74' },
    { target: '/shared', name: 'system.posix_acl_access', value: acl },
  ];
  await makeFilesystem({ image, partition, files: entries, attributes });
  await run(['e2fsck', '-fn', image]);
  const ask = (request: string): Promise<string> => run(['debugfs', '-R', request, image]);
  const hex = async (path: string, name: string): Promise<string> =>
    (await ask(`ea_get -x ${path} ${name}`)).replace(/^.*=/s, '').replace(/\s/g, '');
  expect(await hex('/ping', 'security.capability')).toBe(capability);
  expect(await ask('stat /ping')).toMatch(/File ACL: 0\s/);
  expect(await hex('/labelled', 'security.selinux')).toBe(attributes[1]?.value);
  expect(await ask('ea_list /labelled')).toMatch(/user\.empty \(0\)/);
  expect(await ask('stat /labelled/large')).toMatch(/File ACL: [1-9]/);
  for (const { target, name, value } of attributes.slice(3, 6)) expect(await hex(target, name)).toBe(value);
  expect(await ask('ea_list /shared')).toMatch(/system\.posix_acl_access/);
  const more = [{ target: '/ping', name: 'user.huge', value: '00'.repeat(5000) }];
  await expect(makeFilesystem({ image, partition, files: entries, attributes: more })).rejects.toThrow(
    /"\/ping" into an ext4.*extended attributes are too large/,
  );
  const unknown = [{ target: '/ping', name: 'btrfs.compression', value: '00' }];
  await expect(makeFilesystem({ image, partition, files: entries, attributes: unknown })).rejects.toThrow(
    /in a namespace that ext4 supports/,
  );
});
