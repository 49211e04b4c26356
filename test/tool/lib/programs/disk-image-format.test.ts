import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { inspectDiskImage } from '../../../../lib/programs/disk-image-format.ts';
import { createDisk } from '../../../../lib/steps/create-disk.ts';
import { MIB } from '../../../../lib/units.ts';
import { run } from '../../../helpers/run.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

test('what is no disk image is told as such', async () => {
  const directory = await tempDirectory();
  await writeFile(join(directory, 'text'), 'hello');
  await mkdir(join(directory, 'directory'));
  await expect(inspectDiskImage(join(directory, 'nothing'))).rejects.toThrow(/does not exist/);
  await expect(inspectDiskImage(join(directory, 'directory'))).rejects.toThrow(/is a directory/);
  await expect(inspectDiskImage(join(directory, 'text'))).rejects.toThrow(/too small for a disk image/);
  await createDisk({ image: join(directory, 'raw'), sizeBytes: 4 * MIB });
  await expect(inspectDiskImage(join(directory, 'raw'), 'qcow2')).rejects.toThrow(/told to be qcow2, and is raw/);
});

test('an image with a backing file is refused', async () => {
  const directory = await tempDirectory();
  await createDisk({ image: join(directory, 'base'), sizeBytes: 4 * MIB });
  await run([
    'qemu-img',
    'create',
    '-q',
    '-f',
    'qcow2',
    '-b',
    join(directory, 'base'),
    '-F',
    'raw',
    join(directory, 'top'),
  ]);
  await expect(inspectDiskImage(join(directory, 'top'))).rejects.toThrow(/is not whole: it refers to/);
});
