import { copyFile, mkdir, open, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { diffImages } from '../../../../lib/diff/diff-images.ts';
import { convertImage } from '../../../../lib/steps/convert-image.ts';
import { createDisk } from '../../../../lib/steps/create-disk.ts';
import { generateSecureBootKeys, type SecureBootKeyFiles } from '../../../../lib/steps/generate-secure-boot-keys.ts';
import { makeBootFilesystem } from '../../../../lib/steps/make-boot-filesystem.ts';
import { makeFilesystem } from '../../../../lib/steps/make-filesystem.ts';
import { type PartitionedDisk, partitionDisk } from '../../../../lib/steps/partition-disk.ts';
import { signEfiProgram } from '../../../../lib/steps/sign-efi-program.ts';
import { MIB } from '../../../../lib/units.ts';
import { run } from '../../../helpers/run.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

const MTOOLS = { MTOOLSRC: '/dev/null', MTOOLS_SKIP_CHECK: '1', SOURCE_DATE_EPOCH: '1000000000', TZ: 'UTC' };

/** An efi disk with a file on each filesystem, and a copy of it to change. */
async function pair(): Promise<{
  a: string;
  b: string;
  disk: PartitionedDisk;
  at: string;
  esp: string;
  directory: string;
}> {
  const directory = await tempDirectory();
  const [a, b, root] = [join(directory, 'a.img'), join(directory, 'b.img'), join(directory, 'root')];
  await mkdir(join(root, 'etc'), { recursive: true });
  await writeFile(join(root, 'etc/file'), 'x'.repeat(10_000));
  await writeFile(join(root, 'etc/other'), 'other');
  await createDisk({ image: a, sizeBytes: 64 * MIB });
  const disk = await partitionDisk({ image: a, partitionTableType: 'efi', bootSize: '24M' });
  const esp = disk.esp ?? disk.root;
  await makeBootFilesystem({ image: a, partition: esp, volumeId: '12345678', timestamp: 1 });
  await run(['mcopy', '-i', `${a}@@${esp.offsetBytes}`, join(root, 'etc/other'), '::/entry'], { env: MTOOLS });
  await makeFilesystem({ image: a, partition: disk.root, populateFrom: root, timestamp: 1 });
  await copyFile(a, b);
  return { a, b, disk, directory, at: `./b.img?offset=${disk.root.offsetBytes}`, esp: `${b}@@${esp.offsetBytes}` };
}

async function poke(file: string, offset: number, text: string): Promise<void> {
  await using handle = await open(file, 'r+');
  await handle.write(text, offset, 'latin1');
}

test('the same disk in two containers differs only in the container', async () => {
  const { a, b, directory } = await pair();
  expect(await diffImages({ a, b })).toEqual([]);
  const qcow2 = join(directory, 'a.qcow2');
  await convertImage({ source: a, target: qcow2, format: 'qcow2' });
  expect(await diffImages({ a, b: qcow2 })).toEqual([
    { where: 'container', what: 'a.img', field: 'format', a: 'raw', b: 'qcow2' },
  ]);
});

test.each(['vdi', 'vmdk', 'vhdx'] as const)('two conversions to %s have different identifiers', async (format) => {
  const { a, directory } = await pair();
  const [one, two] = [join(directory, 'one'), join(directory, 'two')];
  for (const target of [one, two]) await convertImage({ source: a, target, format });
  expect(await diffImages({ a: one, b: two })).toMatchObject([{ where: 'container', field: 'identifier' }]);
  expect(await diffImages({ a: one, b: one })).toEqual([]);
});

test.each([
  ['a mode', ['sif /etc/file mode 0100600'], [{ what: '/etc/file', field: 'mode', a: '0644', b: '0600' }]],
  ['an owner', ['sif /etc/file uid 5'], [{ what: '/etc/file', field: 'user', a: '0', b: '5' }]],
  ['a time', ['sif /etc mtime @2'], [{ what: '/etc', field: 'mtime' }]],
  ['a name', ['unlink /etc/other'], [{ what: '/etc/other', a: 'regular, mode 0644, 5 bytes', b: undefined }]],
  [
    'the label',
    ['ssv volume_name changed'],
    [{ what: 'superblock', field: 'Filesystem volume name', a: 'nixos', b: 'changed' }],
  ],
])('ext4: %s is reported with path and field', async (_, commands, expected) => {
  const { a, b, directory, at } = await pair();
  for (const command of ['set_current_time @1', ...commands])
    await run(['debugfs', '-w', '-R', command, at], {
      cwd: directory,
      env: { E2FSPROGS_FAKE_TIME: '1', SOURCE_DATE_EPOCH: '1' },
    });
  const found = await diffImages({ a, b });
  for (const difference of expected) {
    expect(found).toContainEqual(expect.objectContaining(difference));
    expect(found.every(({ where }) => where === 'partition 2 (ext4 nixos)')).toBe(true);
  }
});

test('ext4: a change of contents is reported with its first byte', async () => {
  const { a, b, directory, at, disk } = await pair();
  const blocks = await run(['debugfs', '-R', 'blocks /etc/file', at], { cwd: directory });
  const [, second] = blocks.trim().split(/\s+/).map(Number);
  await poke(b, disk.root.offsetBytes + (second ?? 0) * 4096 + 100, 'Y');
  expect(await diffImages({ a, b })).toEqual([
    expect.objectContaining({ what: '/etc/file', field: 'content', a: 'byte 4196 is 0x78', b: 'byte 4196 is 0x59' }),
  ]);
});

test('FAT: volume ID, paths, times and contents', async () => {
  const { a, b, esp, disk, directory } = await pair();
  await poke(b, (disk.esp?.offsetBytes ?? 0) + 39, 'ABCD');
  await writeFile(join(directory, 'entry'), 'othEr');
  await run(['mcopy', '-o', '-i', esp, join(directory, 'entry'), '::/entry'], {
    env: { ...MTOOLS, SOURCE_DATE_EPOCH: '1000000500' },
  });
  await run(['mmd', '-i', esp, '::/new'], { env: MTOOLS });
  const found = await diffImages({ a, b });
  expect(found.map(({ what, field }) => [what, field])).toEqual(
    expect.arrayContaining([
      ['boot sector', 'volumeId'],
      ['/entry', 'content'],
      ['/entry', 'mtime'],
      ['/new', undefined],
    ]),
  );
  expect(found.every(({ where }) => where === 'partition 1 (vfat ESP)')).toBe(true);
});

test('partition table and boot sector', async () => {
  const { a, b } = await pair();
  await run(['sfdisk', '--quiet', '--part-uuid', b, '2', '11111111-1111-1111-1111-111111111111']);
  await poke(b, 3, 'boot code');
  expect(await diffImages({ a, b })).toEqual(
    expect.arrayContaining([
      expect.objectContaining({ where: 'partition table', what: 'partition 2', field: 'uuid' }),
      expect.objectContaining({ where: 'outside of partitions', what: 'boot sector', field: 'sector 0' }),
      expect.objectContaining({ where: 'outside of partitions', what: 'GPT', field: 'sectors 1 to 2' }),
    ]),
  );
});

test('a file that is not an image is refused', async () => {
  const { a, directory } = await pair();
  await expect(diffImages({ a, b: join(directory, 'none') })).rejects.toThrow(/does not exist/);
  await expect(diffImages({ a, b: directory })).rejects.toThrow(/is a directory/);
});

test.each([
  0, 3,
])('a program that is signed, signed by another key, or changed as well: %d bytes beyond a multiple of eight', async (extra) => {
  const { a, b, esp, directory } = await pair();
  const espA = esp.replace(b, a);
  const { db, platformKey } = await generateSecureBootKeys({ directory: join(directory, 'keys') });
  const program = join(directory, 'loader.efi');
  await writeFile(
    program,
    Buffer.concat([await readFile('/usr/lib/systemd/boot/efi/systemd-bootx64.efi'), Buffer.alloc(extra, 1)]),
  );
  const put = async (image: string, file: string): Promise<void> => {
    await run(['mcopy', '-o', '-i', image, file, '::/loader.efi'], { env: MTOOLS });
  };
  const signed = async (keys: SecureBootKeyFiles, name: string): Promise<string> => {
    const target = join(directory, name);
    await signEfiProgram({ program, target, ...keys });
    return target;
  };
  const differences = async () => (await diffImages({ a, b })).filter(({ what }) => what === '/loader.efi');
  await put(espA, program);
  await put(esp, await signed(db, 'signed.efi'));
  const field = { where: 'partition 1 (vfat ESP)', what: '/loader.efi', field: 'signature' };
  expect(await differences()).toMatchObject([{ ...field, a: 'not signed', b: 'signed by CN=nixos-disk-image db' }]);
  await put(espA, await signed(platformKey, 'other.efi'));
  expect(await differences()).toMatchObject([{ ...field, a: 'signed by CN=nixos-disk-image PK' }]);
  const changed = await readFile(join(directory, 'other.efi'));
  changed[0x600] = (changed[0x600] ?? 0) ^ 1;
  await writeFile(join(directory, 'changed.efi'), changed);
  await put(espA, join(directory, 'changed.efi'));
  const [content, signature, ...others] = await differences();
  expect(others).toEqual([]);
  expect(content).toMatchObject({ field: 'content', a: expect.stringContaining('byte') });
  expect(signature).toMatchObject({ ...field, a: 'changed after CN=nixos-disk-image PK signed it' });
});
