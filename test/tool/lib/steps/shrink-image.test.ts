import { chmod, chown, cp, mkdir, open, readdir, readlink, stat, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { packageFile } from '../../../../harness/cache-directory.ts';
import { inspectImage } from '../../../../lib/inspect/inspect-image.ts';
import { localExecutor } from '../../../../lib/run/local-executor.ts';
import { createDisk } from '../../../../lib/steps/create-disk.ts';
import { makeBootFilesystem } from '../../../../lib/steps/make-boot-filesystem.ts';
import { makeFilesystem } from '../../../../lib/steps/make-filesystem.ts';
import { partitionDisk } from '../../../../lib/steps/partition-disk.ts';
import { shrinkImage } from '../../../../lib/steps/shrink-image.ts';
import { MIB } from '../../../../lib/units.ts';
import { run } from '../../../helpers/run.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

type Layout = Parameters<typeof partitionDisk>[0]['partitionTableType'];

/** 20 MiB of files. The journal of the filesystem has 16 MiB. */
async function files(directory: string): Promise<string> {
  const tree = join(directory, 'tree');
  await mkdir(tree);
  for (let index = 0; index < 20; index += 1)
    await writeFile(join(tree, `${index}`), Buffer.alloc(MIB, `file ${index} `));
  return tree;
}

async function disk(layout: Layout, name = 'disk.img', sectorSize: 512 | 4096 = 512, sizeMiB = 700): Promise<string> {
  const image = join(await tempDirectory(), name);
  await createDisk({ image, sizeBytes: sizeMiB * MIB });
  const made = await partitionDisk({ image, partitionTableType: layout, bootSize: '140M', sectorSize });
  for (const { label, ...partition } of made.partitions)
    if (label !== undefined) await makeBootFilesystem({ image, partition, label });
  await makeFilesystem({ image, partition: made.root, populateFrom: await files(join(image, '..')) });
  return image;
}

test.each([
  ['legacy', 512],
  ['legacy+boot', 512],
  ['legacy+gpt', 512],
  ['efi', 512],
  ['efi', 4096],
  ['hybrid', 512],
  ['none', 512],
] as const)('the layout %s with sectors of %s bytes', async (layout, sectorSize) => {
  const image = await disk(layout, 'a $name?offset=1, it’s.img', sectorSize);
  const before = await inspectImage({ image });
  const shrunk = await shrinkImage({ image });
  const after = await inspectImage({ image, deep: true });
  expect((await stat(image)).size).toBe(shrunk.virtualBytes);
  expect(shrunk.virtualBytes % MIB).toBe(0);
  const root = before.partitions.at(-1)?.filesystem?.type === 'ext4' ? before.partitions.at(-1) : undefined;
  expect(shrunk.virtualBytes).toBeLessThan((root?.offsetBytes ?? 0) + 43 * MIB);
  expect(shrunk.freeBytes).toBeLessThan(3 * MIB);
  // Nothing else has changed: neither the table, nor its other partitions.
  const place = <T extends { sizeBytes: number; sizeSectors: number; number: number; filesystem: unknown }>(one: T) =>
    one.number === shrunk.partition ? { ...one, sizeBytes: 0, sizeSectors: 0, filesystem: undefined } : one;
  expect(after.partitions.map(place)).toEqual(before.partitions.map(place));
  expect(after).toMatchObject({ table: before.table, diskId: before.diskId, sectorBytes: sectorSize });
  const damage = [...after.findings].filter(({ name }) =>
    /gpt|table|partition|filesystem-(?!full)|truncated/.test(name),
  );
  expect(damage).toEqual([]);
  if (sectorSize === 512 && layout !== 'none') expect(await run(['sfdisk', '--verify', image])).toContain('No errors');
  const again = await shrinkImage({ image });
  expect(again).toEqual(shrunk);
});

test('additionalSpace is left, and never more than there was', async () => {
  const image = await disk('legacy');
  const copy = `${image}.copy`;
  await cp(image, copy);
  const { freeBytes, virtualBytes } = await shrinkImage({ image, additionalSpace: '100M' });
  expect(freeBytes).toBeGreaterThanOrEqual(100 * MIB);
  expect(freeBytes).toBeLessThan(104 * MIB);
  expect(virtualBytes).toBeLessThan(145 * MIB);
  expect((await shrinkImage({ image: copy, additionalSpace: '10G' })).virtualBytes).toBe(700 * MIB);
});

test('nixos-disk-image shrink: sizes, JSON, and what it does not do', async () => {
  const image = await disk('legacy', 'a\u001bb.img', 512, 100);
  const shrink = (...more: string[]) =>
    localExecutor.run([process.execPath, packageFile('dist/cli/main.js'), 'shrink', image, ...more]);
  const said = await shrink();
  expect(said.stderr.toString('utf8')).toBe('');
  expect(said.stdout.toString('utf8')).toMatch(
    /a\\x1bb\.img: 100 MiB before, \d\d MiB now; [\d.]+ [KM]iB free in its filesystem\n$/,
  );
  const again = await shrink('--json');
  expect(JSON.parse(again.stdout.toString('utf8'))).toMatchObject({ partition: 1, virtualBytes: expect.any(Number) });
  expect((await shrink()).stdout.toString('utf8')).toContain(', no smaller than before;');
  const wrong = await shrink('--additional-space', 'lots');
  expect([wrong.exitCode, wrong.stderr.toString('utf8')]).toEqual([
    2,
    expect.stringContaining('additionalSpace: "lots" is not a size'),
  ]);
  await writeFile(image, 'x');
  expect((await shrink()).exitCode).toBe(2);
});

test('a link stays one, and the mode and the owner stay', async () => {
  const image = await disk('legacy', 'disk.img', 512, 100);
  const link = `${image}.link`;
  await symlink('disk.img', link);
  await chmod(image, 0o640);
  if (process.getuid?.() === 0) await chown(image, 1234, 1235);
  const before = await stat(image);
  const { virtualBytes } = await shrinkImage({ image: link });
  expect(await readlink(link)).toBe('disk.img');
  const { mode, uid, gid } = before;
  expect(await stat(image)).toMatchObject({ mode, uid, gid, size: virtualBytes });
});

test('a filesystem of another builder, with blocks of 1 KiB and data at its end, and a hybrid MBR', async () => {
  const image = await disk('legacy+gpt');
  const { partitions } = await inspectImage({ image });
  const root = partitions.at(-1);
  const name = `disk.img?offset=${root?.offsetBytes}`;
  const cwd = join(image, '..');
  await run(['mkfs.ext4', '-q', '-F', '-b', '1024', '-E', `offset=${root?.offsetBytes}`, 'disk.img', '400M'], { cwd });
  await writeFile(join(cwd, 'big'), Buffer.alloc(300 * MIB, 'x'));
  const debugfs = (command: string): Promise<string> => run(['debugfs', '-w', '-R', command, name], { cwd });
  await debugfs('write big big');
  for (let index = 0; index < 20; index += 1) await debugfs(`write tree/${index} ${index}`);
  await debugfs('rm big');
  {
    // The root is in the MBR, too.
    await using handle = await open(image, 'r+');
    await handle.write(Buffer.from([0x80, 0, 0, 0, 0x83, 0, 0, 0, 0, 16, 0, 0, 0, 16, 0, 0]), 0, 16, 446 + 16);
  }
  const shrunk = await shrinkImage({ image });
  expect(shrunk.virtualBytes).toBeLessThan(80 * MIB);
  await debugfs('dump 7 seven');
  await run(['cmp', 'seven', 'tree/7'], { cwd });
  const head = Buffer.alloc(512);
  await using handle = await open(image, 'r');
  await handle.read(head, 0, 512, 0);
  expect(head.readUInt32LE(446 + 16 + 12)).toBe(4096);
});

test.each<[string, (image: string) => Promise<unknown>, RegExp]>([
  [
    'a qcow2',
    (image) => run(['qemu-img', 'create', '-q', '-f', 'qcow2', image, '1G']),
    /is a qcow2, not a raw disk image/,
  ],
  ['no disk at all', (image) => truncate(image, 0), /too small for a disk image/],
  [
    'an empty disk',
    (image) => run(['dd', 'if=/dev/zero', `of=${image}`, 'bs=1M', 'count=8', 'status=none']),
    /has no partition table and is not an ext4/,
  ],
  [
    'a swap partition at the end',
    (image) => run(['sfdisk', '--quiet', image], { input: 'label: gpt\nsize=50M\ntype=swap\n' }),
    /the last partition of .* \(2\) is unknown, not an ext4/,
  ],
  [
    'logical partitions',
    (image) => run(['sfdisk', '--quiet', image], { input: `label: dos\n${'size=10M\n'.repeat(3)}type=5\nsize=50M\n` }),
    /\(4\) is extended or logical, which is not supported/,
  ],
  [
    'a GPT whose first copy is damaged',
    async (image) => {
      await run(['sfdisk', '--quiet', image], { input: 'label: gpt\nsize=50M\n' });
      await run(['dd', 'if=/dev/zero', `of=${image}`, 'bs=512', 'seek=1', 'count=1', 'conv=notrunc', 'status=none']);
    },
    /has a damaged partition table: the GPT in sector 1 has no signature/,
  ],
])('refused, and not changed: %s', async (_, make, message) => {
  const image = await disk('legacy', 'disk.img', 512, 100);
  await make(image);
  const before = await run(['sha256sum', image]);
  await expect(shrinkImage({ image })).rejects.toThrow(message);
  expect(await run(['sha256sum', image])).toBe(before);
});

test('damage that e2fsck does not repair by itself is reported; the image stays as it is, and nothing is left beside it', async () => {
  const image = await disk('legacy', 'disk.img', 512, 100);
  const cwd = join(image, '..');
  await run(['debugfs', '-w', '-R', 'clri <2>', `disk.img?offset=${MIB}`], { cwd });
  const before = await run(['sha256sum', image]);
  await expect(shrinkImage({ image })).rejects.toThrow(/the filesystem is damaged/);
  expect(await run(['sha256sum', image])).toBe(before);
  expect((await readdir(cwd)).sort()).toEqual(['disk.img', 'tree']);
});
