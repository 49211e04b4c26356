import { open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { expect, test } from 'vitest';
import { renderInspection } from '../../../../cli/inspect.ts';
import { diffImages } from '../../../../lib/diff/diff-images.ts';
import { crc32c } from '../../../../lib/formats/crc32c.ts';
import { efiGuidBytes } from '../../../../lib/formats/guid.ts';
import { type ImageInspection, inspectImage } from '../../../../lib/inspect/inspect-image.ts';
import { printableJson } from '../../../../lib/printable.ts';
import { AbortedError } from '../../../../lib/run/errors.ts';
import { KERNEL, SYSTEMD_BOOT } from '../../../helpers/pe-file.ts';
import { run } from '../../../helpers/run.ts';
import { makeSmallDisk, writeFat } from '../../../helpers/small-disk.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

const MIB = 1024 ** 2;
const ESP = 'c12a7328-f81f-11d2-ba4b-00a0c93ec93b';
const LINUX = '0fc63daf-8483-4772-8e79-3d69d8477de4';
const BOOT = { 'EFI/BOOT/BOOTX64.EFI': SYSTEMD_BOOT, 'loader/entries/a.conf': 'linux /k\n', k: KERNEL };

interface Part {
  readonly type: string;
  readonly first: bigint;
  readonly last: bigint;
}

/** Writes a GPT with valid checksums and any entries, also those that parted and sfdisk refuse. */
async function writeGpt(image: string, parts: readonly Part[], sectorBytes = 512): Promise<void> {
  await using handle = await open(image, 'r+');
  const { size } = await handle.stat();
  const entries = Buffer.alloc(128 * Math.max(128, parts.length));
  for (const [index, { type, first, last }] of parts.entries()) {
    efiGuidBytes(type).copy(entries, 128 * index);
    entries.writeUInt32LE(index + 1, 128 * index + 16);
    entries.writeBigUInt64LE(first, 128 * index + 32);
    entries.writeBigUInt64LE(last, 128 * index + 40);
  }
  const sectors = size / sectorBytes;
  const entriesAt = [2, sectors - 1 - Math.ceil(entries.length / sectorBytes)];
  for (const [index, at] of [1, sectors - 1].entries()) {
    const header = Buffer.alloc(92);
    header.write('EFI PART', 0, 'latin1');
    header.writeUInt32LE(0x1_0000, 8);
    header.writeUInt32LE(92, 12);
    for (const [offset, value] of [
      [24, at],
      [32, index === 0 ? sectors - 1 : 1],
      [40, 34],
      [48, sectors - 34],
      [72, entriesAt[index] ?? 0],
    ] as const)
      header.writeBigUInt64LE(BigInt(value), offset);
    header.writeUInt32LE(entries.length / 128, 80);
    header.writeUInt32LE(128, 84);
    header.writeUInt32LE(crc32(entries), 88);
    header.writeUInt32LE(crc32(header), 16);
    await handle.write(header, 0, header.length, at * sectorBytes);
    await handle.write(entries, 0, entries.length, (entriesAt[index] ?? 0) * sectorBytes);
  }
  const mbr = Buffer.alloc(512);
  mbr[450] = 0xee;
  mbr.writeUInt32LE(1, 454);
  mbr.writeUInt32LE(sectors - 1, 458);
  mbr.writeUInt16LE(0xaa55, 510);
  await handle.write(mbr, 0, mbr.length, 0);
}

async function emptyDisk(bytes: number): Promise<string> {
  const image = join(await tempDirectory(), 'disk.img');
  await using handle = await open(image, 'w');
  await handle.truncate(bytes);
  return image;
}

/** Checks that both outputs are bounded and have no control characters for a terminal. */
function expectHarmless(inspection: ImageInspection): string {
  const text = renderInspection(inspection);
  const json = printableJson(inspection);
  expect(text.split('\n').length).toBeLessThan(600);
  expect(text.length + json.length).toBeLessThan(2 * MIB);
  expect(`${text}${json}`.replaceAll('\n', '')).not.toMatch(/\p{Cc}/u);
  return text;
}

test('a GPT with valid checksums and partitions of all sizes is read without a RangeError', async () => {
  const image = await emptyDisk(16 * MIB);
  await writeGpt(image, [
    { type: LINUX, first: 0n, last: 2n ** 63n },
    { type: ESP, first: 2n ** 64n - 1n, last: 2n ** 64n - 1n },
    { type: LINUX, first: 5000n, last: 40n },
  ]);
  const inspection = await inspectImage({ image });
  expect(inspection.findings.map(({ code }) => code)).toEqual(
    expect.arrayContaining(['image-truncated', 'partition-invalid']),
  );
  expect(inspection.partitions.every(({ offsetBytes, sizeBytes }) => offsetBytes >= 0 && sizeBytes >= 0)).toBe(true);
  expectHarmless(inspection);
  expect(await diffImages({ a: image, b: image })).toEqual([]);
});

test('8,000 ESPs: only the first are inspected, and the report says so', async () => {
  const image = await emptyDisk(16 * MIB);
  await writeGpt(
    image,
    Array.from({ length: 8000 }, () => ({ type: ESP, first: 4096n, last: 20_000n })),
  );
  await run(['mkfs.vfat', '--offset', '4096', image, '7952']);
  const startedAt = performance.now();
  const inspection = await inspectImage({ image });
  expect(performance.now() - startedAt).toBeLessThan(60_000);
  expect(inspection.findings.map(({ message }) => message)).toContain(
    'not looked at further: partitions beyond the first 256 of 8000',
  );
  expectHarmless(inspection);
});

test('an MBR with 0xffffffff sectors, and a disk much smaller than its table, are reported in a few lines', async () => {
  const image = await emptyDisk(2 * MIB);
  await using handle = await open(image, 'r+');
  const mbr = Buffer.alloc(512);
  mbr[446 + 4] = 0x83;
  mbr.writeUInt32LE(1, 446 + 8);
  mbr.writeUInt32LE(0xffffffff, 446 + 12);
  mbr.writeUInt16LE(0xaa55, 510);
  await handle.write(mbr, 0, 512, 0);
  expect(expectHarmless(await inspectImage({ image })).split('\n').length).toBeLessThan(20);
  const whole = await emptyDisk(64 * MIB);
  await using other = await open(whole, 'r+');
  await other.write(mbr, 0, 512, 0);
  for (let at = MIB; at < 64 * MIB; at += 4096) await other.write('x', at);
  const differences = await diffImages({ a: whole, b: image });
  expect(printableJson(differences).length).toBeLessThan(MIB);
  expect(differences.map(({ what }) => what)).toContain('content');
});

test('logical partitions are read, and a loop in their chain is reported', async () => {
  const image = await emptyDisk(32 * MIB);
  const table = ['label: dos', 'p1 : size=4M, type=83', 'p2 : size=20M, type=5'];
  for (const [index, type] of ['83', '82', '83'].entries()) table.push(`p${index + 5} : size=4M, type=${type}`);
  await run(['sfdisk', '--quiet', image], { input: `${table.join('\n')}\n` });
  const { partitions, findings } = await inspectImage({ image });
  const known = JSON.parse(await run(['sfdisk', '--json', image])) as {
    partitiontable: { partitions: { start: number; size: number }[] };
  };
  expect(partitions.map(({ startSectors, sizeSectors }) => [startSectors, sizeSectors])).toEqual(
    known.partitiontable.partitions.map(({ start, size }) => [start, size]),
  );
  expect(partitions.map(({ number, typeName }) => `${number} ${typeName}`)).toEqual([
    ...['1 linux', '2 extended', '5 linux', '6 linux-swap', '7 linux'],
  ]);
  expect(findings.map(({ code }) => code)).not.toContain('logical-partitions-damaged');
  // The last record points to the first.
  await using handle = await open(image, 'r+');
  const last = (partitions.at(-1)?.startSectors ?? 0) - 2048;
  const link = Buffer.alloc(16);
  link[4] = 0x05;
  link.writeUInt32LE(0, 8);
  link.writeUInt32LE(100, 12);
  await handle.write(link, 0, 16, last * 512 + 446 + 16);
  const again = await inspectImage({ image });
  expect(again.partitions).toHaveLength(5);
  expect(again.findings).toContainEqual(
    expect.objectContaining({ code: 'logical-partitions-damaged', message: expect.stringMatching(/loops back/) }),
  );
});

test('a disk with 4096-byte sectors is read with the correct offsets', async () => {
  const image = await emptyDisk(32 * MIB);
  await writeGpt(image, [{ type: ESP, first: 256n, last: 4351n }], 4096);
  const esp = await emptyDisk(16 * MIB);
  await run(['mkfs.vfat', '-S', '4096', esp]);
  await writeFat(esp, 0, BOOT);
  await run(['dd', `if=${esp}`, `of=${image}`, 'bs=1M', 'seek=1', 'conv=notrunc', 'status=none']);
  const inspection = await inspectImage({ image });
  expect(inspection).toMatchObject({ table: 'gpt', sectorBytes: 4096, firmware: ['efi'], findings: [] });
  expect(inspection.partitions).toMatchObject([{ offsetBytes: MIB, sizeBytes: 16 * MIB, typeName: 'esp' }]);
  expect(inspection.efi.started).toBe('EFI/BOOT/BOOTX64.EFI');
  expect(inspection.bios.findings).toContainEqual(expect.objectContaining({ code: 'bios-large-sectors' }));
  expect(renderInspection(inspection)).toMatch(/GPT, sectors of 4096 bytes/);
  const differences = await diffImages({ a: image, b: await emptyDisk(32 * MIB) });
  expect(differences).toContainEqual(expect.objectContaining({ field: 'sectorsize', a: '4096', b: undefined }));
});

test.each([
  ['0c', 'fat32-lba'],
  ['e', 'fat16-lba'],
  ['ef', 'esp'],
])('EFI firmware boots from a FAT of type %s on an MBR disk', async (type, typeName) => {
  const image = await emptyDisk(32 * MIB);
  await run(['sfdisk', '--quiet', image], { input: `label: dos\nstart=2048,size=32768,type=${type}\n` });
  await run(['mkfs.vfat', '--offset', '2048', image, '16384']);
  await writeFat(image, MIB, BOOT);
  const inspection = await inspectImage({ image });
  expect(inspection.partitions).toMatchObject([{ typeName }]);
  expect(inspection.firmware).toContain('efi');
  expect(inspection.efi).toMatchObject({ started: 'EFI/BOOT/BOOTX64.EFI', findings: [] });
});

test('types of the Discoverable Partitions Specification have names, and blkid identifies other filesystems', async () => {
  const image = await emptyDisk(16 * MIB);
  await writeGpt(image, [
    { type: '8484680c-9521-48c6-9c11-b0720656f69e', first: 4096n, last: 8191n },
    { type: '77ff5f63-e7b6-4633-acf4-1565b864c0e6', first: 8192n, last: 12_287n },
  ]);
  await using handle = await open(image, 'r+');
  const squashfs = Buffer.alloc(96);
  squashfs.write('hsqs', 0, 'latin1');
  squashfs.writeUInt16LE(4, 28);
  await handle.write(squashfs, 0, 96, 4096 * 512);
  const inspection = await inspectImage({ image });
  expect(inspection.partitions).toMatchObject([
    { typeName: 'usr-x86-64', filesystem: { type: 'squashfs' } },
    { typeName: 'usr-x86-64-verity', filesystem: undefined },
  ]);
  expect(renderInspection(inspection)).toMatch(/1 {2}2 MiB at 2 MiB .*usr-x86-64 .*squashfs/);
});

test('impossible numbers in an ext4 are bounded and reported', async () => {
  const { image, root } = await makeSmallDisk(await tempDirectory(), BOOT);
  await using handle = await open(image, 'r+');
  const write = async (change: (superblock: Buffer) => void): Promise<ImageInspection> => {
    const { buffer } = await handle.read(Buffer.alloc(1024), 0, 1024, root + 1024);
    change(buffer);
    buffer.writeUInt32LE(crc32c(~0, buffer.subarray(0, 0x3fc)), 0x3fc);
    await handle.write(buffer, 0, 1024, root + 1024);
    return inspectImage({ image });
  };
  const more = await write((superblock) => void superblock.writeUInt32LE(0xffff_ffff, 0xc));
  expectHarmless(more);
  const [, , filesystem] = more.partitions.map((part) => part.filesystem);
  expect(filesystem?.freeBytes).toBe(filesystem?.sizeBytes);
  expect(more.findings).toContainEqual(
    expect.objectContaining({ code: 'superblock-damaged', message: expect.stringMatching(/free blocks/) }),
  );
  const huge = await write((superblock) => void superblock.writeUInt32LE(0xffff_fff0, 0x18));
  expectHarmless(huge);
  expect(huge.findings).toContainEqual(expect.objectContaining({ code: 'superblock-damaged', severity: 'fatal' }));
});

test('a directory that contains itself and a loop in a cluster chain are reported', async () => {
  const { image, esp } = await makeSmallDisk(await tempDirectory(), { ...BOOT, 'a/b/c/file': 'x' });
  await using handle = await open(image, 'r+');
  const { buffer } = await handle.read(Buffer.alloc(4 * MIB), 0, 4 * MIB, esp);
  const entryOf = (name: string): number => buffer.indexOf(Buffer.from(name.padEnd(11), 'latin1'));
  // The directory C points to the directory A.
  buffer.copy(buffer, entryOf('C') + 26, entryOf('A') + 26, entryOf('A') + 28);
  // The kernel's cluster chain is shorter than its file size.
  const tableAt = buffer.readUInt16LE(14) * 512;
  const kernel = buffer.readUInt16LE(entryOf('K') + 26);
  const at = tableAt + kernel + (kernel >> 1);
  const pair = buffer.readUInt16LE(at);
  buffer.writeUInt16LE(kernel % 2 === 0 ? (pair & 0xf000) | 0xfff : (pair & 0x000f) | 0xfff0, at);
  await handle.write(buffer, 0, buffer.length, esp);
  const { efi, findings } = await inspectImage({ image });
  expect(findings).toContainEqual(expect.objectContaining({ code: 'fat-damaged', severity: 'warning' }));
  expect(efi.findings).toContainEqual(
    expect.objectContaining({ code: 'kernel-cut', message: expect.stringMatching(/allocation table ends after/) }),
  );
});

test('escape sequences in titles and labels do not reach the terminal', async () => {
  const title = '\u001b[2J\u001b]0;owned\u0007\u009b31mtitle';
  const { image } = await makeSmallDisk(await tempDirectory(), {
    ...BOOT,
    'loader/entries/a.conf': `title ${title}\nlinux /\u001b[1mgone\n`,
  });
  const text = expectHarmless(await inspectImage({ image }));
  expect(text).toContain('\\x1b[2J\\x1b]0;owned\\x07');
});

test('a profile link that is a large file is not read', async () => {
  const directory = await tempDirectory();
  const { image, root } = await makeSmallDisk(directory, BOOT);
  const at = `${image}?offset=${root}`;
  const link = '/nix/var/nix/profiles/system-1-link';
  await writeFile(join(directory, 'large'), Buffer.alloc(MIB, 65));
  await run(['debugfs', '-w', '-f', '-', at], {
    cwd: directory,
    input: `rm ${link}\ncd /nix/var/nix/profiles\nwrite large system-1-link\n`,
  });
  expect((await inspectImage({ image })).generations).toMatchObject([{ number: 1, toplevel: '', isDefault: true }]);
});

test('at the time limit, the report says what was skipped', async () => {
  const { image } = await makeSmallDisk(await tempDirectory(), BOOT);
  const inspection = await inspectImage({ image, timeoutMs: 1 });
  expect(inspection.findings.map(({ code }) => code)).toContain('not-looked-at-further');
  expectHarmless(inspection);
  const differences = await diffImages({ a: image, b: image, timeoutMs: 1 });
  expect(differences).toContainEqual(expect.objectContaining({ where: 'skipped' }));
});

test('a long comparison ends soon after an abort', async () => {
  const [a, b] = [await emptyDisk(64 * 1024 * MIB), await emptyDisk(64 * 1024 * MIB)];
  const controller = new AbortController();
  let stoppedAt = 0;
  const outcome = diffImages({ a, b }, { signal: controller.signal }).catch((error: unknown) => error);
  const timer = setTimeout(() => {
    stoppedAt = performance.now();
    controller.abort(new Error('SIGTERM'));
  }, 500);
  expect(await outcome).toBeInstanceOf(AbortedError);
  clearTimeout(timer);
  expect(performance.now() - stoppedAt).toBeLessThan(2000);
});

test('deep: the filesystem checkers report damage that is not visible in a superblock', async () => {
  const { image, esp, root } = await makeSmallDisk(await tempDirectory(), BOOT);
  const damage = async (): Promise<string[]> =>
    (await inspectImage({ image, deep: true })).findings.flatMap(({ code, message }) =>
      code === 'filesystem-damaged' ? [message] : [],
    );
  expect(await damage()).toEqual([]);
  await run(['debugfs', '-w', '-R', 'clri /nix/var', `${image}?offset=${root}`]);
  await using handle = await open(image, 'r+');
  // The two copies of the allocation table differ.
  await handle.write(Buffer.from([0xab, 0xcd, 0xef]), 0, 3, esp + 512 + 300);
  expect((await inspectImage({ image })).findings.filter(({ code }) => code === 'filesystem-damaged')).toEqual([]);
  const found = await damage();
  expect(found).toHaveLength(2);
  expect(found[0]).toMatch(/^fsck\.vfat finds damage in the vfat of partition 2: /);
  expect(found[1]).toMatch(/^e2fsck finds damage in the ext4 of partition 3: /);
});

test.each([
  ['btrfs', ['mkfs.btrfs', '-q']],
  ['xfs', ['mkfs.xfs', '-q']],
  ['f2fs', ['mkfs.f2fs', '-q']],
])('deep: a valid %s causes no finding, and a damaged one does', async (type, mkfs) => {
  const image = await emptyDisk(320 * MIB);
  await run([...mkfs, image]);
  const found = async () => {
    const { filesystem, findings } = await inspectImage({ image, deep: true });
    return { type: filesystem?.type, damage: findings.filter(({ code }) => code === 'filesystem-damaged').length };
  };
  expect(await found()).toEqual({ type, damage: 0 });
  await using handle = await open(image, 'r+');
  // After the superblock, where each filesystem has its trees.
  const noise = Buffer.alloc(4096, 0x5a);
  const from = { btrfs: 20 * MIB, xfs: 8192, f2fs: 2 * MIB }[type] ?? 0;
  const to = { btrfs: 120 * MIB, xfs: 128 * 1024, f2fs: 24 * MIB }[type] ?? 0;
  for (let at = from; at < to; at += 4096) await handle.write(noise, 0, 4096, at);
  expect(await found()).toEqual({ type, damage: 1 });
});
