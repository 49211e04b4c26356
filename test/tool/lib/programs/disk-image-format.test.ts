import { mkdir, open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { FORMATS_WITH_BACKING } from '../../../../lib/formats/image-formats.ts';
import { inspectDiskImage } from '../../../../lib/programs/disk-image-format.ts';
import { InvalidOptionsError } from '../../../../lib/run/errors.ts';
import { createDisk } from '../../../../lib/steps/create-disk.ts';
import { MIB } from '../../../../lib/units.ts';
import { run } from '../../../helpers/run.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

test('a file that is not a disk image is reported as such', async () => {
  const directory = await tempDirectory();
  await writeFile(join(directory, 'text'), 'hello');
  await mkdir(join(directory, 'directory'));
  await expect(inspectDiskImage(join(directory, 'nothing'))).rejects.toThrow(/does not exist/);
  await expect(inspectDiskImage(join(directory, 'directory'))).rejects.toThrow(/is a directory/);
  await expect(inspectDiskImage(join(directory, 'text'))).rejects.toThrow(/too small for a disk image/);
  await createDisk({ image: join(directory, 'raw'), sizeBytes: 4 * MIB });
  await expect(inspectDiskImage(join(directory, 'raw'), 'qcow2')).rejects.toThrow(/is not qcow2; its content is raw/);
});

test.each(FORMATS_WITH_BACKING)('a %s with its contents in another file is refused', async (format) => {
  const directory = await tempDirectory();
  const [base, top] = [join(directory, 'base'), join(directory, 'top')];
  const baseFormat = format === 'vmdk' ? 'vmdk' : 'raw';
  await run(['qemu-img', 'create', '-q', '-f', baseFormat, base, '4M']);
  await run(['qemu-img', 'create', '-q', '-f', format, '-b', base, '-F', baseFormat, top]);
  await expect(inspectDiskImage(top)).rejects.toThrow(/is incomplete: part of its content is in/);
});

test('a single-file VMDK with a descriptor that names another file is refused: that file would be read as the disk', async () => {
  const directory = await tempDirectory();
  const image = join(directory, 'image.vmdk');
  await writeFile(join(directory, 'secret'), Buffer.alloc(4 * MIB, 'secret'));
  await run(['qemu-img', 'create', '-q', '-f', 'vmdk', image, '4M']);
  await using handle = await open(image, 'r+');
  const { buffer: header } = await handle.read(Buffer.alloc(512), 0, 512, 0);
  const [at, bytes] = [0x1c, 0x24].map((field) => Number(header.readBigUInt64LE(field)) * 512);
  const { buffer: descriptor } = await handle.read(Buffer.alloc(bytes ?? 0), 0, bytes, at);
  const text = descriptor
    .toString('latin1')
    .replace('monolithicSparse', 'monolithicFlat')
    .replace(/^RW .*$/m, `RW ${(4 * MIB) / 512} FLAT "secret" 0`)
    .replace(/\0+$/, '');
  await handle.write(Buffer.from(text.padEnd(bytes ?? 0, '\0')), 0, bytes, at);
  // Without a size in its header, QEMU uses the embedded descriptor.
  await handle.write(Buffer.alloc(8), 0, 8, 0x0c);
  await expect(inspectDiskImage(image)).rejects.toThrow(/is incomplete: part of its content is in .*secret/);
});

test.each(['monolithicSparse', 'streamOptimized'])('a VMDK of the subformat %s is read', async (subformat) => {
  const image = join(await tempDirectory(), 'image.vmdk');
  await run(['qemu-img', 'create', '-q', '-f', 'vmdk', '-o', `subformat=${subformat}`, image, '4M']);
  expect(await inspectDiskImage(image)).toMatchObject({ format: 'vmdk', virtualBytes: 4 * MIB });
});

test('an impossible disk size is an error in the image', async () => {
  const image = join(await tempDirectory(), 'image.parallels');
  await run(['qemu-img', 'create', '-q', '-f', 'parallels', image, '4M']);
  await using handle = await open(image, 'r+');
  const sectors = Buffer.alloc(8);
  sectors.writeBigUInt64LE(2n ** 53n);
  await handle.write(sectors, 0, 8, 36);
  await expect(inspectDiskImage(image)).rejects.toThrow(InvalidOptionsError);
  await expect(inspectDiskImage(image)).rejects.toThrow(/is damaged: its header claims a disk of \d+ bytes/);
});

test('an image encrypted by QEMU is refused as such', async () => {
  const image = join(await tempDirectory(), 'image.qcow');
  const encryption = 'encrypt.format=aes,encrypt.key-secret=key';
  await run([
    'qemu-img',
    'create',
    '-q',
    '--object',
    'secret,id=key,data=k',
    '-f',
    'qcow',
    '-o',
    encryption,
    image,
    '4M',
  ]);
  await expect(inspectDiskImage(image)).rejects.toThrow(/is encrypted and cannot be read[\s\S]*decrypt it first/);
});
