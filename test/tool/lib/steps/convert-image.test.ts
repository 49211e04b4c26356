import { open, readdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import {
  driverOf,
  FORMATS_WITH_RANDOM_IDENTIFIERS,
  IMAGE_FORMATS,
  imageFileName,
} from '../../../../lib/formats/image-formats.ts';
import { inspectDiskImage } from '../../../../lib/programs/disk-image-format.ts';
import { convertImage } from '../../../../lib/steps/convert-image.ts';
import { createDisk } from '../../../../lib/steps/create-disk.ts';
import { MIB } from '../../../../lib/units.ts';
import { run } from '../../../helpers/run.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

async function sparseDisk(): Promise<string> {
  const source = join(await tempDirectory(), 'a:b,source.img');
  await createDisk({ image: source, sizeBytes: 512 * MIB });
  const handle = await open(source, 'r+');
  await handle.write(Buffer.alloc(MIB, 'pattern '), 0, MIB, 100 * MIB);
  await handle.close();
  return source;
}

test.each(IMAGE_FORMATS)('%s has the same bytes and is sparse', async (format) => {
  const source = await sparseDisk();
  const target = join(dirname(source), imageFileName('x:y', format));
  const made = await convertImage({ source, target, format });
  expect(made.virtualBytes).toBeGreaterThanOrEqual(512 * MIB);
  expect(made.allocatedBytes).toBeLessThan(8 * MIB);
  const driver = driverOf(format);
  expect((await inspectDiskImage(target)).format).toBe(driver);
  await run(['qemu-img', 'compare', '-f', 'raw', '-F', driver, source, target]);
});

test.each(
  IMAGE_FORMATS.filter((format) => !FORMATS_WITH_RANDOM_IDENTIFIERS.includes(format)),
)('%s is the same file each time if a time is given', async (format) => {
  const source = await sparseDisk();
  const [one, two] = [await tempDirectory(), await tempDirectory()].map((at) => join(at, imageFileName('x', format)));
  if (one === undefined || two === undefined) throw new Error('no names');
  for (const target of [one, two]) await convertImage({ source, target, format, timestamp: 1 });
  await run(['cmp', one, two]);
});

test.each([
  ['nixos.vmdk', 'nixos.vmdk'],
  ['a very long name, with blanks, of more than a few letters.vmdk', undefined],
  ['"quoted".vmdk', 'disk.vmdk'],
])('the descriptor of a VMDK has its file name: %s', async (name, shown = name) => {
  const source = await sparseDisk();
  const target = join(dirname(source), name);
  await convertImage({ source, target, format: 'vmdk' });
  await using handle = await open(target, 'r');
  const { buffer } = await handle.read(Buffer.alloc(4096), 0, 4096, 512);
  expect(buffer.toString('latin1')).toContain(`SPARSE "${shown}"\n`);
  // QEMU writes random numbers without leading zeros.
  expect(buffer.toString('latin1')).toMatch(/\nCID=[1-9a-f][0-9a-f]{0,7}\n/);
});

test('a failed conversion leaves nothing behind', async () => {
  const directory = await tempDirectory();
  await writeFile(join(directory, 'source'), 'x');
  await expect(
    convertImage({ source: join(directory, 'missing'), target: join(directory, 'target'), format: 'qcow2' }),
  ).rejects.toThrow(/source: .*missing does not exist/);
  expect(await readdir(directory)).toEqual(['source']);
});

test('an existing target survives a failed conversion, and the source cannot be the target', async () => {
  const source = await sparseDisk();
  const target = join(dirname(source), 'precious');
  await writeFile(target, 'precious');
  await expect(convertImage({ source: join(dirname(source), 'missing'), target })).rejects.toThrow();
  await expect(convertImage({ source, target: source })).rejects.toThrow(/is the same file as source/);
  expect((await readdir(dirname(source))).sort()).toEqual(['a:b,source.img', 'precious']);
});
