import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { PARTITION_TABLE_TYPES } from '../../../../lib/formats/layouts.ts';
import { NoSpaceError } from '../../../../lib/run/errors.ts';
import { createDisk } from '../../../../lib/steps/create-disk.ts';
import { partitionDisk } from '../../../../lib/steps/partition-disk.ts';
import { MIB } from '../../../../lib/units.ts';
import { run } from '../../../helpers/run.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

async function disk(sizeMiB: number): Promise<string> {
  const image = join(await tempDirectory(), '-disk,1.img');
  await createDisk({ image, sizeBytes: sizeMiB * MIB });
  return image;
}

test.each(PARTITION_TABLE_TYPES)('the layout %s on disk', async (partitionTableType) => {
  const image = await disk(600);
  const made = await partitionDisk({ image, partitionTableType });
  if (partitionTableType === 'none') {
    expect(made.partitions).toEqual([]);
    expect(made.root).toMatchObject({ number: undefined, offsetBytes: 0, sizeBytes: 600 * MIB });
    return;
  }
  const dump = await run(['sfdisk', '--dump', image]);
  expect(dump.replaceAll(image, 'disk')).toMatchSnapshot();
  for (const partition of made.partitions) {
    expect(partition.offsetBytes).toBe(partition.startSectors * 512);
    expect(dump).toMatch(new RegExp(`start= *${partition.startSectors}, size= *${partition.sizeSectors}\\b`));
  }
  // The random one of make-disk-image, which ignores rootGPUID in this layout.
  const preset =
    partitionTableType === 'legacy+gpt'
      ? '970c694f-afd0-4b99-b750-cdb7a329ab6f'
      : 'f222513b-ded1-49fa-b591-20ce86a2fe7f';
  if (made.table === 'gpt') expect(made.root.partitionUuid).toBe(preset);
});

test('identifiers are random unless deterministic', async () => {
  const image = await disk(400);
  const one = await partitionDisk({ image, partitionTableType: 'efi', deterministic: false });
  const two = await partitionDisk({ image, partitionTableType: 'efi', deterministic: false });
  expect(one.diskId).not.toBe(two.diskId);
  expect(one.root.partitionUuid).not.toBe(two.root.partitionUuid);
  const own = await partitionDisk({
    image,
    partitionTableType: 'efi',
    rootGPUID: '12345678-1234-1234-1234-123456789ABC',
  });
  expect(own.root.partitionUuid).toBe('12345678-1234-1234-1234-123456789abc');
});

test('a disk that is too small is reported with sizes', async () => {
  const image = await disk(200);
  const attempt = partitionDisk({ image, partitionTableType: 'efi', bootSize: '256M' });
  await expect(attempt).rejects.toThrow(NoSpaceError);
  await expect(attempt).rejects.toMatchObject({ neededBytes: 258 * MIB, availableBytes: 200 * MIB });
});

test('an existing disk file is not overwritten', async () => {
  const image = await disk(10);
  await expect(createDisk({ image, sizeBytes: 512 })).rejects.toThrow(/exists already/);
});

test('a new disk is sparse, also with 100 GiB', async () => {
  const image = join(await tempDirectory(), 'big.img');
  const made = await createDisk({ image, sizeBytes: 100 * 1024 * MIB });
  expect(made).toMatchObject({ sizeBytes: 100 * 1024 * MIB });
  expect(made.allocatedBytes).toBeLessThan(MIB);
});

// The tables of deterministic images are the same bytes in every version.
test.each([
  ['legacy', 512, 'db4366199d714658'],
  ['legacy+boot', 512, 'f151855edf16bc8d'],
  ['legacy+gpt', 512, 'b23d021003ef4e07'],
  ['efi', 512, '6cc88f4a53ff36b3'],
  ['efixbootldr', 512, 'ee991e57077911d7'],
  ['hybrid', 512, 'e31d5a8bed77dc3c'],
  ['none', 512, '9942003e84c16488'],
  ['efi', 4096, '06b810f3c7bd6017'],
] as const)('the bytes of the layout %s with sectors of %d bytes', async (partitionTableType, sectorSize, expected) => {
  const image = join(await tempDirectory(), 'disk.img');
  await createDisk({ image, sizeBytes: 320 * MIB });
  await partitionDisk({ image, partitionTableType, sectorSize });
  expect(
    createHash('sha256')
      .update(await readFile(image))
      .digest('hex')
      .slice(0, 16),
  ).toBe(expected);
});
