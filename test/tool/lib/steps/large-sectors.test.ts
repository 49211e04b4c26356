import { join } from 'node:path';
import { expect, test } from 'vitest';
import { inspectImage } from '../../../../lib/inspect/inspect-image.ts';
import { createDisk } from '../../../../lib/steps/create-disk.ts';
import { makeBootFilesystem } from '../../../../lib/steps/make-boot-filesystem.ts';
import { makeFilesystem } from '../../../../lib/steps/make-filesystem.ts';
import { type DiskPartition, partitionDisk } from '../../../../lib/steps/partition-disk.ts';
import { MIB } from '../../../../lib/units.ts';
import { run } from '../../../helpers/run.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

const LAYOUT = { partitionTableType: 'efi', bootSize: '300M', sectorSize: 4096 } as const;

async function emptyDisk(sizeBytes = 900 * MIB): Promise<string> {
  const image = join(await tempDirectory(), 'disk.img');
  await createDisk({ image, sizeBytes });
  return image;
}

test.each([
  true,
  false,
])('fdisk reads the same table from sectors of 4096 bytes, deterministic: %s', async (deterministic) => {
  const image = await emptyDisk();
  const { diskId, esp, root } = await partitionDisk({ image, ...LAYOUT, deterministic });
  const columns = 'Start,End,Sectors,Type-UUID,UUID,Name';
  const listed = await run(['fdisk', '--sector-size', '4096', '--output', columns, '--list', image]);
  expect(listed).toContain(`Disk identifier: ${diskId?.toUpperCase()}`);
  const row = (partition: DiskPartition, type: string, name: string): string[] => {
    const { startSectors, sizeSectors, partitionUuid } = partition;
    const numbers = [startSectors, startSectors + sizeSectors - 1, sizeSectors].map(String);
    return [...numbers, type, partitionUuid.toUpperCase(), name];
  };
  const rows = listed.trim().split('\n').slice(-2);
  expect(rows.map((line) => line.trim().split(/ +/))).toEqual([
    row(esp, 'C12A7328-F81F-11D2-BA4B-00A0C93EC93B', 'ESP'),
    row(root, '0FC63DAF-8483-4772-8E79-3D69D8477DE4', 'primary'),
  ]);
  expect([esp.offsetBytes, root.offsetBytes, root.offsetBytes + root.sizeBytes]).toEqual(
    [8, 300, 899].map((mib) => mib * MIB),
  );
});

test.each(['ext4', 'btrfs', 'xfs'] as const)('a FAT and a root of type %s are where they belong', async (fsType) => {
  const image = await emptyDisk();
  const { esp, root } = await partitionDisk({ image, ...LAYOUT });
  await makeBootFilesystem({ image, partition: esp });
  await makeFilesystem({ image, partition: root, fsType });
  const { sectorBytes, partitions, findings } = await inspectImage({ image, deep: true });
  expect({ sectorBytes, types: partitions.map(({ filesystem }) => filesystem?.type) }).toEqual({
    sectorBytes: 4096,
    types: ['vfat', fsType],
  });
  expect(findings.filter(({ stage }) => stage !== 'firmware' && stage !== 'loader')).toEqual([]);
  const part = async (partition: DiskPartition): Promise<string> => {
    const file = join(await tempDirectory(), 'part.img');
    const [skip, count] = [partition.offsetBytes / MIB, partition.sizeBytes / MIB];
    await run([
      'dd',
      `if=${image}`,
      `of=${file}`,
      'bs=1M',
      `skip=${skip}`,
      `count=${count}`,
      'conv=sparse',
      'status=none',
    ]);
    return file;
  };
  expect(await run(['fsck.vfat', '-n', '-v', await part(esp)])).toContain('4096 bytes per logical sector');
  if (fsType === 'xfs')
    expect(await run(['xfs_db', '-r', '-c', 'sb 0', '-c', 'print sectsize', await part(root)])).toBe(
      'sectsize = 4096\n',
    );
});

test.each([
  [{ partitionTableType: 'legacy' }, /sectorSize: 4096 contradicts partitionTableType "legacy": only EFI/],
  [{ partitionTableType: 'legacy+gpt' }, /only EFI/],
  [{ partitionTableType: 'hybrid' }, /only EFI/],
  [{ partitionTableType: 'none' }, /only EFI/],
  [{ partitionTableType: 'efixbootldr' }, /systemd-boot up to version 257 finds no XBOOTLDR partition/],
] as const)('another layout is refused, and nothing is written: %j', async (layout, message) => {
  const image = await emptyDisk();
  await expect(partitionDisk({ image, ...layout, sectorSize: 4096 })).rejects.toThrow(message);
  expect(await run(['du', '--block-size=1', image])).toMatch(/^0\t/);
});

test('a disk that ends within a sector is refused', async () => {
  const image = await emptyDisk(900 * MIB + 512);
  await expect(partitionDisk({ image, ...LAYOUT })).rejects.toThrow(
    /image: has 943718912 bytes, which is not a multiple/,
  );
});

test.each([
  [512, [64, 8192, 8196, 8250, 8300, 9000, 65_536, 524_288]],
  [4096, [128, 160, 8192, 8196, 9000, 16_384, 32_768, 65_500, 65_536, 131_072, 524_288]],
] as const)('a FAT of any size can be made in sectors of %i bytes', async (sectorBytes, sizes) => {
  const image = await emptyDisk();
  for (const size of sizes) {
    const partition = { offsetBytes: 0, sizeBytes: size * 1024, sectorBytes };
    const { sizeBytes } = await makeBootFilesystem({ image, partition });
    expect(sizeBytes).toBeLessThanOrEqual(size * 1024);
  }
});
