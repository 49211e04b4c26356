import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { imageFirmware } from '../../../harness/qemu/image-firmware.ts';
import { inspectDiskImage } from '../../../lib/disk-image-format.ts';
import { PARTITION_LAYOUTS, PARTITION_TABLE_TYPES } from '../../../lib/partition-table.ts';
import { convertImage } from '../../../lib/steps/convert-image.ts';
import { createDisk } from '../../../lib/steps/create-disk.ts';
import { partitionDisk } from '../../../lib/steps/partition-disk.ts';
import { MIB } from '../../../lib/units.ts';
import { run } from '../../helpers/run.ts';
import { tempFolder } from '../../helpers/temp-folder.ts';

test('what is no disk image is told as such', async () => {
  const folder = await tempFolder();
  await writeFile(join(folder, 'text'), 'hello');
  await mkdir(join(folder, 'folder'));
  await expect(inspectDiskImage(join(folder, 'nothing'))).rejects.toThrow(/does not exist/);
  await expect(inspectDiskImage(join(folder, 'folder'))).rejects.toThrow(/is a folder/);
  await expect(inspectDiskImage(join(folder, 'text'))).rejects.toThrow(/too small for a disk image/);
  await createDisk({ image: join(folder, 'raw'), sizeBytes: 4 * MIB });
  await expect(inspectDiskImage(join(folder, 'raw'), 'qcow2')).rejects.toThrow(/told to be qcow2, and is raw/);
});

test('an image with a backing file is refused', async () => {
  const folder = await tempFolder();
  await createDisk({ image: join(folder, 'base'), sizeBytes: 4 * MIB });
  await run(['qemu-img', 'create', '-q', '-f', 'qcow2', '-b', join(folder, 'base'), '-F', 'raw', join(folder, 'top')]);
  await expect(inspectDiskImage(join(folder, 'top'))).rejects.toThrow(/is not whole: it refers to/);
});

test.each(PARTITION_TABLE_TYPES)('the firmware of the layout %s is told from its table', async (partitionTableType) => {
  const folder = await tempFolder();
  const image = join(folder, 'disk.img');
  await createDisk({ image, sizeBytes: 400 * MIB });
  await partitionDisk({ image, partitionTableType });
  // A boot sector's first byte, which a loader would write.
  if (PARTITION_LAYOUTS[partitionTableType].table === 'msdos')
    await run(['dd', 'of=disk.img', 'bs=1', 'conv=notrunc'], { cwd: folder, input: '\u0001' });
  const { bios, efi } = PARTITION_LAYOUTS[partitionTableType];
  const expected = [...(bios ? ['legacy'] : []), ...(efi ? ['efi'] : [])];
  expect(await imageFirmware(image)).toEqual(expected);
  await convertImage({ source: image, target: join(folder, 'disk.qcow2'), format: 'qcow2' });
  expect(await imageFirmware(join(folder, 'disk.qcow2'))).toEqual(expected);
});
