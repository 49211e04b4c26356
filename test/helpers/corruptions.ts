import { open } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import { crc32c } from '../../lib/formats/crc32c.ts';
import type { SmallDisk } from './small-disk.ts';

/** A pseudorandom number generator with a seed. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** Returns a number from 0 to `end` - 1. @see mulberry32 */
  below(end: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * end);
  }

  pick<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)] as T;
  }
}

/** Bytes to write into an image. */
export interface Patch {
  readonly at: number;
  readonly bytes: Buffer;
}

/** A part of an image with metadata. */
export interface Region {
  readonly name: string;
  readonly at: number;
  readonly size: number;
  /** Updates checksums, so that readers accept the corrupted data. */
  readonly mend?: (image: Buffer) => Patch[];
}

const SECTOR = 512;

/** The regions of a disk with a GPT, GRUB's boot sector, an ESP and an ext4. @param bytes the image. */
export function regionsOf({ esp, root }: Pick<SmallDisk, 'esp' | 'root'>, bytes: Buffer): Region[] {
  const fat = {
    reserved: bytes.readUInt16LE(esp + 14) * SECTOR,
    // FAT12 and FAT16 have the length of a table at one offset, FAT32 at another.
    table: (bytes.readUInt16LE(esp + 22) || bytes.readUInt32LE(esp + 36)) * SECTOR,
    root: bytes.readUInt16LE(esp + 17) * 32,
  };
  const blockBytes = 1024 << bytes.readUInt32LE(root + 1024 + 0x18);
  const descriptors = root + (blockBytes === 1024 ? 2 : 1) * blockBytes;
  const inodeTable = root + bytes.readUInt32LE(descriptors + 8) * blockBytes;
  return [
    { name: 'boot sector', at: 0, size: SECTOR },
    { name: 'GPT header', at: SECTOR, size: 92, mend: mendGpt },
    { name: 'GPT entries', at: 2 * SECTOR, size: 5 * 128, mend: mendGpt },
    { name: 'GPT entries, checksums wrong', at: 2 * SECTOR, size: 5 * 128 },
    { name: 'backup GPT', at: bytes.length - 33 * SECTOR, size: 33 * SECTOR },
    { name: 'GRUB core', at: Number(bytes.readBigUInt64LE(0x5c)) * SECTOR, size: SECTOR },
    { name: 'FAT boot sector', at: esp, size: 90 },
    { name: 'FAT', at: esp + fat.reserved, size: 64 },
    { name: 'FAT root', at: esp + fat.reserved + 2 * fat.table, size: 512 },
    { name: 'FAT directories and files', at: esp + fat.reserved + 2 * fat.table + fat.root, size: 64 * 1024 },
    { name: 'ext4 superblock', at: root + 1024, size: 1024, mend: (image) => mendSuperblock(image, root) },
    { name: 'ext4 superblock, checksum wrong', at: root + 1024, size: 1024 },
    { name: 'ext4 descriptors', at: descriptors, size: 128 },
    { name: 'ext4 inodes', at: inodeTable, size: 32 * 256 },
    { name: 'ext4 blocks', at: inodeTable, size: 512 * 1024 },
  ];
}

/** The regions of a qcow2 container's tables. @see docs/interop/qcow2.txt in QEMU */
export const QCOW2_REGIONS: readonly Region[] = [
  { name: 'qcow2 header', at: 0, size: 112 },
  { name: 'qcow2 tables', at: 65_536, size: 4 * 65_536 },
];

function mendGpt(image: Buffer): Patch[] {
  const header = Buffer.from(image.subarray(SECTOR, 2 * SECTOR));
  const [count, size, length] = [header.readUInt32LE(80), header.readUInt32LE(84), header.readUInt32LE(12)];
  const first = Number(header.readBigUInt64LE(72)) * SECTOR;
  if (count * size <= 1024 * 1024 && first < image.length)
    header.writeUInt32LE(crc32(image.subarray(first, first + count * size)), 88);
  header.writeUInt32LE(0, 16);
  if (length >= 92 && length <= SECTOR) header.writeUInt32LE(crc32(header.subarray(0, length)), 16);
  return [{ at: SECTOR, bytes: header }];
}

function mendSuperblock(image: Buffer, root: number): Patch[] {
  const checksum = Buffer.alloc(4);
  checksum.writeUInt32LE(crc32c(~0, image.subarray(root + 1024, root + 1024 + 0x3fc)));
  return [{ at: root + 1024 + 0x3fc, bytes: checksum }];
}

/** Corrupts a region in one to eight places: flipped bits, random bytes, and numbers at the limits of their range. */
export function corrupt(random: Random, region: Region, image: Buffer): Patch[] {
  const changed = Buffer.from(image.subarray(region.at, region.at + region.size));
  for (let times = 1 + random.below(8); times > 0; times -= 1) {
    const at = random.below(changed.length);
    const room = changed.length - at;
    const width = random.pick([1, 1, 2, 4, 8].filter((bytes) => bytes <= room));
    const kind = random.below(4);
    if (kind === 0) changed[at] = (changed[at] ?? 0) ^ (1 << random.below(8));
    else if (kind === 1) changed.fill(0xff, at, at + width);
    else if (kind === 2) changed.fill(0, at, at + width);
    else for (let byte = 0; byte < width; byte += 1) changed[at + byte] = random.below(256);
  }
  const patches: Patch[] = [{ at: region.at, bytes: changed }];
  if (region.mend === undefined) return patches;
  const mended = Buffer.from(image);
  changed.copy(mended, region.at);
  return [...patches, ...region.mend(mended)];
}

/** Writes patches into a file, runs a function on it, and restores the original bytes. */
export async function withPatches<T>(file: string, patches: readonly Patch[], look: () => Promise<T>): Promise<T> {
  await using handle = await open(file, 'r+');
  const before: Patch[] = [];
  for (const { at, bytes } of patches) {
    const { buffer } = await handle.read(Buffer.alloc(bytes.length), 0, bytes.length, at);
    before.unshift({ at, bytes: buffer });
    await handle.write(bytes, 0, bytes.length, at);
  }
  try {
    return await look();
  } finally {
    for (const { at, bytes } of before) await handle.write(bytes, 0, bytes.length, at);
  }
}
