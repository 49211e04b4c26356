import { chmod, lstat, mkdir, open, readFile, readlink, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openExt4 } from '../../../../lib/filesystem/ext4/open.ts';
import { Ext4Volume } from '../../../../lib/filesystem/ext4/volume.ts';
import { createDisk } from '../../../../lib/steps/create-disk.ts';
import { extractFilesystem } from '../../../../lib/steps/extract-filesystem.ts';
import { makeFilesystem } from '../../../../lib/steps/make-filesystem.ts';
import { MIB } from '../../../../lib/units.ts';
import { run } from '../../../helpers/run.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

// The reader also supports filesystems from e2fsprogs with features that makeFilesystem does not use.

async function sourceTree(directory: string): Promise<string> {
  const tree = join(directory, 'tree');
  await mkdir(join(tree, 'many'), { recursive: true });
  await mkdir(join(tree, 'empty'));
  await writeFile(join(tree, 'small'), 'a few bytes');
  await writeFile(join(tree, 'größe und 名前'), 'named');
  await writeFile(join(tree, 'nicht dabei: ß'), 'left out');
  await writeFile(join(tree, 'large'), Buffer.alloc(3 * MIB, 'abcdefg'));
  await writeFile(join(tree, 'sparse'), 'at the start');
  await truncate(join(tree, 'sparse'), 5 * MIB);
  await writeFile(join(tree, 'script'), '#!/bin/sh\n');
  await chmod(join(tree, 'script'), 0o4755);
  await symlink('small', join(tree, 'short-link'));
  await symlink('l'.repeat(200), join(tree, 'long-link'));
  for (let index = 0; index < 500; index += 1)
    await writeFile(join(tree, 'many', `a file with the number ${index}`), `${index}`);
  await run(['setfattr', '-n', 'user.note', '-v', 'seen', join(tree, 'small')]);
  await run(['setfattr', '-n', 'user.long', '-v', 'v'.repeat(900), join(tree, 'large')]);
  return tree;
}

test.each([
  ['ext2, with block maps', ['-t', 'ext2', '-b', '1024']],
  ['ext3', ['-t', 'ext3', '-b', '2048']],
  ['ext4 with small blocks', ['-t', 'ext4', '-b', '1024']],
  ['ext4 with 128-byte inodes and no checksums', ['-t', 'ext4', '-I', '128', '-O', '^metadata_csum,^64bit']],
  ['ext4 with small files in their inodes', ['-t', 'ext4', '-O', 'inline_data']],
  ['ext4 with group descriptors in their groups', ['-t', 'ext4', '-b', '1024', '-O', 'meta_bg,^resize_inode']],
  ['ext4 with its own checksum seed', ['-t', 'ext4', '-O', 'metadata_csum_seed', '-U', 'random']],
  ['ext4 without flexible groups', ['-t', 'ext4', '-O', '^flex_bg', '-g', '1024', '-b', '1024']],
])('%s', async (_, options) => {
  const directory = await tempDirectory();
  const tree = await sourceTree(directory);
  const image = join(directory, 'disk.img');
  await run(['mke2fs', '-q', '-d', tree, ...options, image, '64M']);
  const found = await extractFilesystem({
    ...{ image, partition: { offsetBytes: 0, sizeBytes: 64 * MIB } },
    ...{ fsType: 'ext4', directory: join(directory, 'out'), leaveOut: ['/lost+found', '/nicht dabei: ß'] },
  });
  const at = new Map(found.map((entry) => [Buffer.from(entry.path, 'latin1').toString('utf8'), entry]));
  expect(at.size).toBe(500 + 10);
  for (const [name, entry] of at) {
    if (name === '') continue;
    const facts = await lstat(join(tree, name));
    expect(entry.mode).toBe(facts.mode & 0o7777);
    expect(entry.mtime).toBe(Math.floor(facts.mtimeMs / 1000));
    // mke2fs truncates a sparse file that it stores in an inode.
    if (facts.isFile() && !(options.includes('inline_data') && name === 'sparse'))
      expect((await readFile(entry.source)).equals(await readFile(join(tree, name)))).toBe(true);
    if (facts.isSymbolicLink()) expect(entry.target).toBe(await readlink(join(tree, name)));
  }
  const noted = Object.fromEntries((at.get('small')?.attributes ?? []).map(({ name, value }) => [name, `${value}`]));
  expect(noted).toEqual({ 'user.note': 'seen' });
  expect(at.get('large')?.attributes?.[0]?.value.length).toBe(900);
});

test('attributes, ACLs and capabilities are read unchanged', async () => {
  const directory = await tempDirectory();
  const image = join(directory, 'disk.img');
  const root = join(directory, 'root');
  await mkdir(root);
  await writeFile(join(root, 'file'), 'content');
  await createDisk({ image, sizeBytes: 16 * MIB });
  const acl = '0200000001000600ffffffff02000700e803000004000400ffffffff10000700ffffffff20000400ffffffff';
  const attributes = [
    { target: '/file', name: 'security.capability', value: '0100000200040000000000000000000000000000' },
    { target: '/file', name: 'system.posix_acl_access', value: acl },
    { target: '/file', name: 'user.large', value: 'ab'.repeat(2000) },
  ];
  const partition = { offsetBytes: 0, sizeBytes: 16 * MIB };
  await makeFilesystem({ image, partition, populateFrom: root, attributes });
  const found = await extractFilesystem({ image, partition, fsType: 'ext4', directory: join(directory, 'out') });
  const file = found.find(({ path }) => path === 'file');
  expect(file?.attributes?.map(({ name, value }) => [name, value.toString('hex')]).sort()).toEqual(
    attributes.map(({ name, value }) => [name, value]),
  );
});

test('a tree that cannot be read completely is not extracted', async () => {
  const directory = await tempDirectory();
  const image = join(directory, 'disk.img');
  const tree = join(directory, 'tree');
  await mkdir(join(tree, 'etc'), { recursive: true });
  await writeFile(join(tree, 'etc/file'), Buffer.alloc(8192, 'x'));
  const partition = { offsetBytes: 0, sizeBytes: 16 * MIB };
  const take = (name: string) =>
    extractFilesystem({ image, partition, fsType: 'ext4', directory: join(directory, name) });
  for (const [index, [path, field]] of [
    ['/etc/file', 'block[5] 0x7fffffff'],
    ['/etc', 'block[5] 0x7fffffff'],
    ['/etc', 'block[0] 0'],
  ].entries()) {
    await run(['mke2fs', '-q', '-F', '-t', 'ext4', '-d', tree, image, '16M']);
    await take(`good-${index}`);
    await run(['debugfs', '-w', '-R', `sif ${path} ${field}`, image]);
    await expect(take(`broken-${index}`)).rejects.toThrow(
      /cannot be read: (?:the block map of inode|damaged entries in)/,
    );
  }
});

test('an extent tree whose nodes all point to one block does not loop endlessly', async () => {
  const directory = await tempDirectory();
  const image = join(directory, 'disk.img');
  await createDisk({ image, sizeBytes: 16 * MIB });
  await makeFilesystem({ image, partition: { offsetBytes: 0, sizeBytes: 16 * MIB } });
  await using disk = await open(image, 'r');
  const volume = await openExt4(disk, { offsetBytes: 0, sizeBytes: 16 * MIB });
  if (typeof volume === 'string') throw new Error(volume);
  const node = (depth: number): Buffer => {
    const bytes = Buffer.alloc(4096);
    bytes.writeUInt16LE(0xf30a, 0);
    bytes.writeUInt16LE(340, 2);
    bytes.writeUInt16LE(340, 4);
    bytes.writeUInt16LE(depth, 6);
    for (let at = 12; at < 12 + 340 * 12; at += 12) bytes.writeUInt32LE(1000 + depth - 1, at + 4);
    return bytes;
  };
  const read = async (at: number, bytes: number): Promise<Buffer> => {
    const block = Math.floor(at / 4096) - 1000;
    if (block >= 0 && block < 5) return node(block).subarray(at % 4096, (at % 4096) + bytes);
    return volume.read(at, bytes);
  };
  const hostile = await Ext4Volume.open(read);
  if (typeof hostile === 'string') throw new Error(hostile);
  const root = await hostile.node(2);
  if (root === undefined) throw new Error('no root');
  const { isCut } = await hostile.extents({ ...root, map: node(5).subarray(0, 60) });
  expect(isCut).toBe(true);
});
