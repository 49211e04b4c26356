import { join } from 'node:path';
import { expect, test } from 'vitest';
import { createDisk } from '../../../../lib/steps/create-disk.ts';
import { makeSwap } from '../../../../lib/steps/make-swap.ts';
import { type WritePartitionsOptions, writePartitions } from '../../../../lib/steps/write-partitions.ts';
import { MIB } from '../../../../lib/units.ts';
import { run } from '../../../helpers/run.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

async function emptyDisk(sizeBytes = 100 * MIB): Promise<string> {
  const image = join(await tempDirectory(), 'a disk,@@ ?offset=1.img');
  await createDisk({ image, sizeBytes });
  return image;
}

const MANY: WritePartitionsOptions['partitions'] = [
  { type: 'esp', name: 'disk-main-ESP', size: '10M', mountPoint: '/boot', label: 'ESP' },
  { type: 'bios-boot', size: 1, uuid: '11111111-2222-4333-8444-555555555555' },
  { type: 'root-arm64', name: 'Wurzel äöü €', mountPoint: '/', attributes: ['grow-file-system', 'no-auto', 2] },
  { type: 'ABCDEF01-2345-4789-8BCD-EF0123456789', size: '3M', attributes: [63, 48] },
];

test('sfdisk reads the partitions that were asked for', async () => {
  const image = await emptyDisk();
  const diskId = '97FD5997-F390-0B4A-A3F8-D106C1723AEA';
  const disk = await writePartitions({ image, partitions: MANY, diskId });
  const { partitiontable: table } = JSON.parse(await run(['sfdisk', '--json', image]));
  expect(table).toMatchObject({ label: 'gpt', id: diskId, firstlba: 34, sectorsize: 512 });
  expect(table.partitions).toMatchObject([
    { start: 2048, size: 20_480, type: 'C12A7328-F81F-11D2-BA4B-00A0C93EC93B', name: 'disk-main-ESP' },
    {
      start: 22_528,
      size: 2048,
      type: '21686148-6449-6E6F-744E-656564454649',
      uuid: '11111111-2222-4333-8444-555555555555',
    },
    {
      start: 24_576,
      type: 'B921B045-1DF0-41C3-AF44-4C6F280D3FAE',
      name: 'Wurzel äöü €',
      attrs: 'LegacyBIOSBootable GUID:59,63',
    },
    { size: 6144, type: 'ABCDEF01-2345-4789-8BCD-EF0123456789', attrs: 'GUID:48,63' },
  ]);
  const last = table.partitions.at(-1);
  expect((last.start + last.size) * 512).toBe(99 * MIB);
  expect(disk.partitions.map(({ role, partitionUuid }) => [role, partitionUuid.toUpperCase()])).toEqual(
    ['esp', 'bios-grub', 'root', 'data'].map((role, index) => [role, table.partitions[index].uuid]),
  );
  expect(disk).toMatchObject({
    ...{ table: 'gpt', diskId: diskId.toLowerCase(), xbootldr: undefined, boot: undefined },
    ...{ esp: { number: 1, label: 'ESP', mountPoint: '/boot' }, biosGrub: { number: 2 }, root: { number: 3 } },
  });
  expect(await run(['sfdisk', '--verify', image])).toContain('No errors detected');
});

test('sectors of 4096 bytes, 128 partitions, random identifiers', async () => {
  const image = await emptyDisk(200 * MIB);
  const partitions = Array.from({ length: 128 }, () => ({ type: 'linux-generic', size: '1M' }));
  const disk = await writePartitions({ image, partitions, sectorSize: 4096 });
  expect(disk.root).toBeUndefined();
  expect(new Set(disk.partitions.map(({ partitionUuid }) => partitionUuid)).size).toBe(128);
  const listed = await run(['fdisk', '--sector-size', '4096', '--list', image]);
  expect(listed.match(/Linux filesystem/g)).toHaveLength(128);
  expect(disk.partitions.at(-1)).toMatchObject({ number: 128, offsetBytes: 128 * MIB, sizeBytes: MIB });
});

test.each<[string, Partial<WritePartitionsOptions>, RegExp]>([
  ['more than the disk has', { partitions: [{ type: 'home', size: '99M' }] }, /needs .*101 MiB|101 MiB/],
  ['nothing left for one', { partitions: [{ type: 'home', size: '98M' }, { type: 'swap' }] }, /101 MiB/],
  [
    'two that get the rest',
    { partitions: [{ type: 'home' }, { type: 'swap' }] },
    /partitions\[1\]\.size: is required: only one/,
  ],
  ['an unknown type', { partitions: [{ type: 'hoem' }] }, /did you mean "home"/],
  [
    'an unknown option',
    { partitions: [{ type: 'home', start: 1 } as never] },
    /partitions\[0\]\.start: there is no such option/,
  ],
  ['no partitions', { partitions: [] }, /at least one partition/],
])('%s is refused', async (_, options, message) => {
  const image = await emptyDisk();
  await expect(writePartitions({ image, partitions: [], ...options })).rejects.toThrow(message);
  expect((await run(['od', '-An', '-tx1', '-N', '1024', image])).replaceAll(/[\s*]|00/g, '')).toBe('');
});

test('a disk of no whole sectors is refused', async () => {
  const image = await emptyDisk(100 * MIB + 512);
  const partitions = [{ type: 'home' }];
  await expect(writePartitions({ image, partitions, sectorSize: 4096 })).rejects.toThrow(/not a multiple of 4096/);
});

test('swapon and blkid read the swap space', async () => {
  const image = await emptyDisk();
  const { partitions } = await writePartitions({ image, partitions: [{ type: 'home', size: '5M' }, { type: 'swap' }] });
  const [home, partition] = partitions;
  if (partition === undefined || home === undefined) throw new Error('two partitions');
  const uuid = '0cb5c4d1-6f5a-4e0e-9f43-2d7a6b1e8c90';
  await makeSwap({ image, partition, label: 'the swap space', uuid });
  const probe = ['blkid', '--probe', '--offset', `${partition.offsetBytes}`, '--size', `${partition.sizeBytes}`];
  const found = await run([...probe, '--output', 'export', image]);
  expect(found).toContain(`UUID=${uuid}`);
  expect(found).toContain('TYPE=swap');
  expect(found).toMatch(/LABEL=the.*swap.*space/);
  await expect(makeSwap({ image, partition: { offsetBytes: 0, sizeBytes: 16_384 } })).rejects.toThrow(
    /40 KiB|too small/i,
  );
  await expect(makeSwap({ image, partition, label: 'sixteen letters!' })).rejects.toThrow(/longer than the 15 bytes/);
});
