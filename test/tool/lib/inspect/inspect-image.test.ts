import { randomBytes } from 'node:crypto';
import { open, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { PARTITION_LAYOUTS, PARTITION_TABLE_TYPES } from '../../../../lib/formats/layouts.ts';
import { inspectImage } from '../../../../lib/inspect/inspect-image.ts';
import { convertImage } from '../../../../lib/steps/convert-image.ts';
import { createDisk } from '../../../../lib/steps/create-disk.ts';
import { makeFilesystem } from '../../../../lib/steps/make-filesystem.ts';
import { partitionDisk } from '../../../../lib/steps/partition-disk.ts';
import { MIB } from '../../../../lib/units.ts';
import { run } from '../../../helpers/run.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

test.each(
  PARTITION_TABLE_TYPES,
)('the firmware of the layout %s is detected from its table', async (partitionTableType) => {
  const directory = await tempDirectory();
  const image = join(directory, 'disk.img');
  await createDisk({ image, sizeBytes: 400 * MIB });
  const disk = await partitionDisk({ image, partitionTableType });
  // The first byte of a boot sector, which a loader would write.
  if (PARTITION_LAYOUTS[partitionTableType].table === 'msdos')
    await run(['dd', 'of=disk.img', 'bs=1', 'conv=notrunc'], { cwd: directory, input: '\u0001' });
  const { bios, efi } = PARTITION_LAYOUTS[partitionTableType];
  const expected = [...(bios ? ['bios'] : []), ...(efi ? ['efi'] : [])];
  expect((await inspectImage({ image })).firmware).toEqual(expected);
  await convertImage({ source: image, target: join(directory, 'disk.qcow2'), format: 'qcow2' });
  const { format, firmware, partitions } = await inspectImage({ image: join(directory, 'disk.qcow2') });
  expect({ format, firmware }).toEqual({ format: 'qcow2', firmware: expected });
  expect(partitions.map(({ offsetBytes, sizeBytes }) => [offsetBytes, sizeBytes])).toEqual(
    partitionTableType === 'none' ? [] : disk.partitions.map((part) => [part.offsetBytes, part.sizeBytes]),
  );
});

test.each([
  ['ext4', ['mkfs.ext4', '-q', '-L', 'label']],
  ['vfat', ['mkfs.vfat', '-n', 'LABEL']],
  ['btrfs', ['mkfs.btrfs', '-q', '-L', 'label']],
  ['xfs', ['mkfs.xfs', '-q', '-L', 'label']],
  ['f2fs', ['mkfs.f2fs', '-q', '-l', 'label']],
  ['swap', ['mkswap', '-q', '-L', 'label']],
])('a disk with a %s and no partition table is identified by blkid', async (type, mkfs) => {
  const directory = await tempDirectory();
  const image = join(directory, 'disk.img');
  await createDisk({ image, sizeBytes: 320 * MIB });
  await run([...mkfs, image]);
  const { table, filesystem, firmware } = await inspectImage({ image });
  const known = await run(['blkid', '--probe', '--output', 'export', image]);
  expect(table).toBe('none');
  expect(firmware).toEqual([]);
  expect(filesystem).toMatchObject({
    type,
    uuid: /^UUID=(.*)$/m.exec(known)?.[1],
    label: /^LABEL=(.*)$/m.exec(known)?.[1],
  });
  expect(known).toMatch(new RegExp(`^TYPE=${type}$`, 'm'));
});

describe.each([
  ['ext4', ['mkfs.ext4', '-q'], { superblock: 1024 + 0x20, tooLarge: 'fatal', damaged: true }],
  ['btrfs', ['mkfs.btrfs', '-q'], { superblock: 0x1_0000 + 0x90, tooLarge: 'fatal', damaged: true }],
  ['xfs', ['mkfs.xfs', '-q'], { superblock: 0x50, tooLarge: 'fatal', damaged: true }],
  // It has two superblocks.
  ['f2fs', ['mkfs.f2fs', '-q'], { superblock: 1024 + 0x20, tooLarge: 'error', damaged: false }],
] as const)('the root filesystem is a %s', (type, mkfs, { superblock, tooLarge, damaged }) => {
  const findingsAfter = async (change: (image: string) => Promise<unknown>): Promise<string[]> => {
    const image = join(await tempDirectory(), 'disk.img');
    await createDisk({ image, sizeBytes: 320 * MIB });
    await run([...mkfs, image]);
    await change(image);
    const { findings } = await inspectImage({ image });
    return findings
      .filter(({ message }) => message.includes(`the ${type} of `))
      .map(({ code, severity }) => `${code}: ${severity}`);
  };

  test('a good one causes no finding', async () => {
    expect(await findingsAfter(async () => {})).toEqual([]);
  });

  test('one that is larger than its partition is found', async () => {
    expect(await findingsAfter((image) => truncate(image, 304 * MIB))).toEqual([`filesystem-too-large: ${tooLarge}`]);
  });

  test('a superblock whose checksum is wrong is found', async () => {
    const found = await findingsAfter(async (image) => {
      await using handle = await open(image, 'r+');
      await handle.write(Buffer.from([0xa5, 0x5a]), 0, 2, superblock);
    });
    expect(found.slice(0, 1)).toEqual(damaged ? ['superblock-damaged: fatal'] : []);
  });
});

test.each(['qcow2', 'qcow2-compressed'] as const)('a %s of which a part is missing cannot work', async (format) => {
  const directory = await tempDirectory();
  const [image, whole, cut] = ['disk.img', 'whole.qcow2', 'cut.qcow2'].map((name) => join(directory, name)) as [
    string,
    string,
    string,
  ];
  await createDisk({ image, sizeBytes: 64 * MIB });
  await partitionDisk({ image, partitionTableType: 'legacy' });
  await using disk = await open(image, 'r+');
  await disk.write(randomBytes(4 * MIB), 0, 4 * MIB, 40 * MIB);
  await convertImage({ source: image, target: whole, format });
  expect((await inspectImage({ image: whole })).findings.filter(({ code }) => code === 'container-damaged')).toEqual(
    [],
  );
  const bytes = await readFile(whole);
  for (const share of [0.3, 0.6, 0.9]) {
    await writeFile(cut, bytes.subarray(0, Math.floor(bytes.length * share)));
    const { findings } = await inspectImage({ image: cut });
    expect(findings.find(({ code }) => code === 'container-damaged')?.severity, `${share}`).toBe('fatal');
  }
  const rest = { partition: { offsetBytes: MIB, sizeBytes: 32 * MIB }, image: whole };
  await expect(makeFilesystem(rest)).rejects.toThrow(/image: .* is a qcow2, not a raw disk image/);
  expect((await readFile(whole)).equals(bytes)).toBe(true);
});
