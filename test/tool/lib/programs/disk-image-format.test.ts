import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { inspectDiskImage } from '../../../../lib/programs/disk-image-format.ts';
import { createDisk } from '../../../../lib/steps/create-disk.ts';
import { MIB } from '../../../../lib/units.ts';
import { run } from '../../../helpers/run.ts';
import { tempFolder } from '../../../helpers/temp-folder.ts';

test('what is no disk image is told as such', async () => {
  const folder = await tempFolder();
  await writeFile(join(folder, 'text'), 'hello');
  await mkdir(join(folder, 'folder'));
  await expect(inspectDiskImage(join(folder, 'nothing'))).rejects.toThrow(/does not exist/);
  await expect(inspectDiskImage(join(folder, 'folder'))).rejects.toThrow(/is a directory/);
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
