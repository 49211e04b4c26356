import { chmod, link, mkdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { packArgs } from '../../../../lib/filesystem/packed-filesystem.ts';
import { inspectImage } from '../../../../lib/inspect/inspect-image.ts';
import type { Executor } from '../../../../lib/run/executor.ts';
import { localExecutor } from '../../../../lib/run/local-executor.ts';
import { copyToPartition } from '../../../../lib/steps/copy-to-partition.ts';
import { createDisk } from '../../../../lib/steps/create-disk.ts';
import { type PackFilesystemOptions, packFilesystem } from '../../../../lib/steps/pack-filesystem.ts';
import { writePartitions } from '../../../../lib/steps/write-partitions.ts';
import { MIB } from '../../../../lib/units.ts';
import { HASH } from '../../../helpers/fake-system.ts';
import { run } from '../../../helpers/run.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

const NAMES = [
  'a b',
  'new\nline',
  "it's",
  '"',
  '$(touch F)',
  '-dash',
  'back\\slash',
  'a;b',
  '[x]*',
  'äöü',
  'x'.repeat(254),
];

/** A tree whose names and kinds are hard to write. @param order in which its names are created. */
async function tree(order: readonly string[] = NAMES): Promise<string> {
  const root = join(await tempDirectory(), 'a source $(x)');
  await mkdir(join(root, 'deep/er/own'), { recursive: true });
  for (const name of order) await writeFile(join(root, name), name.repeat(1000));
  await writeFile(join(root, 'deep/program'), '#!/bin/sh');
  await chmod(join(root, 'deep/program'), 0o4755);
  await link(join(root, 'deep/program'), join(root, 'deep/er/same'));
  await symlink('../nowhere at all', join(root, 'deep/link'));
  await run(['mkfifo', join(root, 'deep/pipe')]);
  return root;
}

/** Path, kind, mode, owner, links, target and content's hash of each file, as another program extracts it. */
async function listed(file: string, fsType: 'erofs' | 'squashfs'): Promise<string> {
  const to = join(await tempDirectory(), 'to');
  const extract = fsType === 'erofs' ? 'fsck.erofs --extract="$2" "$1"' : 'unsquashfs -quiet -no-progress -d "$2" "$1"';
  const print = String.raw`find . -printf '%P|%y|%m|%U:%G|%l|' \( -type f -exec sh -c 'sha256sum < "$0"' '{}' \; -o -printf '\n' \)`;
  const script = `${extract} > "$2.log" 2>&1 && cd "$2" && ${print}`;
  return run(['fakeroot', 'sh', '-ec', script, 'list', file, to]);
}

describe.each(['erofs', 'squashfs'] as const)('%s', (fsType) => {
  test('has the files of a tree, with their kinds, modes and owners', async () => {
    const root = await tree();
    const file = join(await tempDirectory(), 'a file,@@ $(x).img');
    const owners = [
      { target: '/deep', uid: 1000, gid: 100 },
      { target: '/deep/er/own', uid: 70_000, gid: 0 },
    ];
    const packed = await packFilesystem({ file, fsType, populateFrom: root, owners });
    expect(packed.sizeBytes).toBe((await stat(file)).size);
    const found = await listed(file, fsType);
    expect(found).toContain('deep/program|f|4755|1000:100||');
    expect(found).toContain('deep/link|l|777|1000:100|../nowhere at all|');
    expect(found).toContain('deep/pipe|p|644|1000:100||');
    expect(found).toContain('deep/er/own|d|755|70000:0||');
    for (const name of NAMES) expect(found).toContain(`${name}|f|644|0:0||`);
  });

  test('is the same bytes each time, whatever the order of the names on this host', async () => {
    const uuid = fsType === 'erofs' ? '01234567-89ab-cdef-0123-456789abcdef' : undefined;
    const label = fsType === 'erofs' ? 'nix store' : undefined;
    const images = [];
    for (const order of [NAMES, [...NAMES].reverse()]) {
      const file = join(await tempDirectory(), 'image');
      const packed = await packFilesystem({ file, fsType, uuid, label, timestamp: 1, populateFrom: await tree(order) });
      expect(packed).toMatchObject({ uuid, label });
      images.push(await readFile(file));
    }
    expect(images[0]?.equals(images[1] ?? Buffer.alloc(0))).toBe(true);
  });

  test('is the same bytes from a store with hard links, beside SOURCE_DATE_EPOCH, and with any umask', async () => {
    const images = [];
    for (const isOptimised of [false, true]) {
      const store = await tempDirectory();
      const storePath = `/nix/store/${HASH}-one`;
      await mkdir(join(store, storePath), { recursive: true });
      for (const name of ['a', 'b']) await writeFile(join(store, storePath, name), 'x'.repeat(100_000));
      if (isOptimised) {
        await rm(join(store, storePath, 'b'));
        await link(join(store, storePath, 'a'), join(store, storePath, 'b'));
      }
      const file = join(await tempDirectory(), 'image');
      const uuid = fsType === 'erofs' ? '01234567-89ab-cdef-0123-456789abcdef' : undefined;
      const before = [process.umask(isOptimised ? 0o077 : 0o022), process.env.SOURCE_DATE_EPOCH] as const;
      if (isOptimised) process.env.SOURCE_DATE_EPOCH = '1234';
      try {
        await packFilesystem({ file, fsType, uuid, timestamp: 1, closure: { store, storePaths: [storePath] } });
      } finally {
        process.umask(before[0]);
        if (before[1] === undefined) delete process.env.SOURCE_DATE_EPOCH;
        else process.env.SOURCE_DATE_EPOCH = before[1];
      }
      images.push(await readFile(file));
      expect(await listed(file, fsType)).toContain('nix/store|d|755|0:0||');
    }
    expect(images[0]?.equals(images[1] ?? Buffer.alloc(0))).toBe(true);
  });

  test('follows a link to the directory, and ignores owners of missing files', async () => {
    const root = await tree();
    const at = join(await tempDirectory(), 'link');
    await symlink(root, at);
    const store = await tempDirectory();
    const storePath = `/nix/store/${HASH}-one`;
    await mkdir(join(store, storePath), { recursive: true });
    const file = join(await tempDirectory(), 'image');
    const owners = [{ target: '/not there', uid: 1, gid: 2 }];
    await packFilesystem({ file, fsType, populateFrom: at, closure: { store, storePaths: [storePath] }, owners });
    const found = await listed(file, fsType);
    expect(found).toContain(`nix/store/${HASH}-one|d|`);
    expect(found).toContain('deep/link|l|777|0:0|../nowhere at all|');
    await expect(stat(join(root, 'nix'))).rejects.toThrow('ENOENT');
  });

  test('compressions and their levels', async () => {
    const root = join(await tempDirectory(), 'tree');
    await mkdir(root);
    await writeFile(join(root, 'text'), 'abc '.repeat(200_000));
    const sizes = [];
    for (const compression of ['none', 'lz4', fsType === 'erofs' ? 'lz4hc' : 'xz']) {
      const file = join(await tempDirectory(), 'image');
      await packFilesystem({ file, fsType, compression, populateFrom: root });
      sizes.push((await stat(file)).size);
    }
    expect(sizes[0]).toBeGreaterThan(800_000);
    expect(Math.max(...sizes.slice(1))).toBeLessThan(100_000);
    const file = join(await tempDirectory(), 'out');
    const withLevel = { file, fsType, populateFrom: root, compression: fsType === 'erofs' ? 'lz4hc' : 'gzip' } as const;
    await packFilesystem({ ...withLevel, compressionLevel: 9 });
    await expect(packFilesystem({ ...withLevel, compressionLevel: 13 })).rejects.toThrow(
      /compressionLevel: is 13, but (lz4hc|gzip) of (erofs|squashfs) has levels from [01] to (12|9)/,
    );
  });
});

test('a disk with such a filesystem', async () => {
  const root = await tree();
  const work = await tempDirectory();
  const file = join(work, 'store');
  const packed = await packFilesystem({ file, fsType: 'erofs', populateFrom: root, label: 'store' });
  const image = join(work, 'disk.img');
  await createDisk({ image, sizeBytes: 8 * MIB });
  const { partitions } = await writePartitions({ image, partitions: [{ type: 'linux-generic', size: '2M' }] });
  const [partition] = partitions;
  if (partition === undefined) throw new Error('there is a partition');
  await copyToPartition({ image, partition, source: file });
  const inspected = await inspectImage({ image, deep: true });
  expect(inspected.findings.map(({ code }) => code)).toEqual(['no-boot-code', 'no-esp']);
  expect(inspected.partitions[0]?.filesystem).toMatchObject({ type: 'erofs', label: 'store', uuid: packed.uuid });
  for (const [source, message] of [
    [image, /source: is the same file as image/],
    [work, /source: .* is a directory, not a file/],
    ['/dev/null', /source: .* not a file/],
  ] as const)
    await expect(copyToPartition({ image, partition, source })).rejects.toThrow(message);
  await expect(
    copyToPartition({ image, partition: { ...partition, sizeBytes: 4096 }, source: file }),
  ).rejects.toMatchObject({ availableBytes: 4096, neededBytes: (await stat(file)).size });
});

test('a time that a squashfs cannot store is refused by name', async () => {
  const root = await tempDirectory();
  await writeFile(join(root, 'old'), '');
  await run(['touch', '--date', '1960-01-02 03:04:05 UTC', join(root, 'old')]);
  const file = join(await tempDirectory(), 'image');
  const pack = packFilesystem({ file, fsType: 'squashfs', populateFrom: root });
  await expect(pack).rejects.toThrow('fsType: "squashfs" cannot store the time of /old, 1960-01-02T03:04:05.000Z');
  await packFilesystem({ file, fsType: 'squashfs', populateFrom: root, timestamp: 1 });
  await packFilesystem({ file, fsType: 'erofs', populateFrom: root });
});

test('a file that cannot be read ends it, and a compression that is not built in is named', async () => {
  const root = await tempDirectory();
  await writeFile(join(root, 'file'), 'content');
  const file = join(await tempDirectory(), 'image');
  /** A mksquashfs that says something else of its arguments. */
  const saying = (text: string): Executor => ({
    ...localExecutor,
    run: (argv, options) =>
      localExecutor.run(
        argv.includes('mksquashfs') ? ['sh', '-c', `echo "$1" >&2; exit 1`, 'sh', text] : argv,
        options,
      ),
  });
  const given = { file, fsType: 'squashfs', populateFrom: root, compression: 'lzo' } as const;
  await expect(
    packFilesystem(given, { executor: saying('mksquashfs: Compressor "lzo" is not supported!') }),
  ).rejects.toThrow('compression: "lzo" is not built into the host\'s mksquashfs');
  expect(packArgs({ ...given, compressionLevel: 1, uuid: undefined, timestamp: 1 }, 'a', 'b')).toContain(
    '-exit-on-error',
  );
});

test('a file name that is too long for mkfs.erofs 1.5 is named', async () => {
  const root = await tempDirectory();
  await writeFile(join(root, 'y'.repeat(255)), '');
  const file = join(await tempDirectory(), 'image');
  await packFilesystem({ file, fsType: 'squashfs', populateFrom: root });
  // Later versions write it.
  const written = await packFilesystem({ file, fsType: 'erofs', populateFrom: root }).catch((error: Error) => error);
  if (written instanceof Error) expect(written).toMatchObject({ hint: expect.stringContaining('255 bytes: /yyy') });
});

test('a file inside the directory that it is made of is refused', async () => {
  const directory = await tempDirectory();
  await expect(
    packFilesystem({ file: join(directory, 'out'), fsType: 'erofs', populateFrom: directory }),
  ).rejects.toThrow(/would be copied into itself/);
});

test.each<[string, Partial<PackFilesystemOptions>, RegExp]>([
  ['nothing to write', { populateFrom: undefined }, /populateFrom: is required without closure/],
  ['an unknown compression', { compression: 'zsdt' }, /"zsdt" is not a compression of erofs; it has none, lz4/],
  ['a name of every object', { compression: 'toString' }, /"toString" is not a compression/],
  ['a label of a squashfs', { fsType: 'squashfs', label: 'x' }, /label: a squashfs has none/],
  [
    'a UUID of a squashfs',
    { fsType: 'squashfs', uuid: '01234567-89ab-cdef-0123-456789abcdef' },
    /uuid: a squashfs has/,
  ],
  ['a long label', { label: 'seventeen letters' }, /longer than the 16 bytes/],
  ['a level where there is none', { compression: 'lz4', compressionLevel: 1 }, /lz4 of erofs has no levels/],
  ['a directory that does not exist', { populateFrom: '/does/not/exist' }, /populateFrom/],
  ['a file in no directory', { file: '/dev/null/x' }, /file/],
])('%s is refused before anything is made', async (_, options, message) => {
  const directory = await tempDirectory();
  const populateFrom = await tempDirectory();
  const given = { file: join(directory, 'out'), fsType: 'erofs', populateFrom, ...options } as const;
  await expect(packFilesystem(given)).rejects.toThrow(message);
  await expect(stat(join(directory, 'out'))).rejects.toThrow('ENOENT');
});
