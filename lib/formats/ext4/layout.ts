import { crc32c } from '../crc32c.ts';
import { HALF_MD4, type NameHash } from './name-hash.ts';
import { parseExt4Superblock } from './superblock.ts';

/** The only block size that is supported for writing. */
export const BLOCK_BYTES = 4096;

const SUPERBLOCK_CHECKSUM = 0x3fc;

/** The geometry of a filesystem, as mkfs chose it. */
export interface Ext4Layout {
  readonly blocks: number;
  readonly inodes: number;
  readonly freeBlocks: number;
  readonly freeInodes: number;
  readonly groups: number;
  readonly blocksPerGroup: number;
  readonly inodesPerGroup: number;
  readonly descriptorBlocks: number;
  /** Reserved after the descriptors for growing the filesystem (resize_inode). */
  readonly reservedDescriptorBlocks: number;
  /** Seed of all checksums in this filesystem. */
  readonly checksumSeed: number;
  readonly nameHash: NameHash;
}

const INODE_BYTES = 256;
const DESCRIPTOR_BYTES = 64;
const UNSIGNED_HASH = 2;

/** Reads the geometry of an ext4 that mkfs.ext4 made with makeFilesystem's options.
 *  @throws {RangeError} for any other filesystem. */
export function layoutOf(bytes: Buffer): Ext4Layout {
  const superblock = parseExt4Superblock(bytes);
  const fits =
    superblock !== undefined &&
    superblock.blockBytes === BLOCK_BYTES &&
    superblock.inodeBytes === INODE_BYTES &&
    superblock.descriptorBytes === DESCRIPTOR_BYTES &&
    superblock.hasChecksums &&
    superblock.isSparse;
  if (!fits)
    throw new RangeError(
      'not an ext4 with 4096-byte blocks, 256-byte inodes, and the features 64bit and metadata_csum',
    );
  const { blocks, inodes, freeBlocks, freeInodes, blocksPerGroup, inodesPerGroup, checksumSeed } = superblock;
  const groups = Math.ceil(blocks / blocksPerGroup);
  return {
    ...{ blocks, inodes, freeBlocks, freeInodes, groups, blocksPerGroup, inodesPerGroup, checksumSeed },
    descriptorBlocks: Math.ceil((groups * DESCRIPTOR_BYTES) / BLOCK_BYTES),
    reservedDescriptorBlocks: bytes.readUInt16LE(0xce),
    nameHash: {
      seed: Uint32Array.from({ length: 4 }, (_, index) => bytes.readUInt32LE(0xec + index * 4)),
      isSigned: (bytes.readUInt32LE(0x160) & UNSIGNED_HASH) === 0,
    },
  };
}

/** Updates the free counts and the write time of a superblock, or of a backup. */
export function updateSuperblock(bytes: Buffer, freeBlocks: number, freeInodes: number, seconds: number): void {
  bytes.writeUInt32LE(freeBlocks % 2 ** 32, 0xc);
  bytes.writeUInt32LE(Math.floor(freeBlocks / 2 ** 32), 0x158);
  bytes.writeUInt32LE(freeInodes, 0x10);
  bytes.writeUInt32LE(seconds >>> 0, 0x30);
  bytes.writeUInt8(Math.floor(seconds / 2 ** 32) & 0xff, 0x274);
  // The hash that this project writes, whatever mke2fs.conf configured.
  bytes.writeUInt8(HALF_MD4, 0xfc);
  bytes.writeUInt32LE(crc32c(~0, bytes.subarray(0, SUPERBLOCK_CHECKSUM)), SUPERBLOCK_CHECKSUM);
}

/** Whether a group has a backup of the superblock and the descriptors: 0, 1, and powers of 3, 5 and 7
 *  (sparse_super). */
export function hasSuperblock(group: number): boolean {
  if (group <= 1) return true;
  return [3, 5, 7].some((base) => {
    let power = base;
    while (power < group) power *= base;
    return power === group;
  });
}

const UNINITIALIZED = { inodes: 1, blocks: 2 };

/** The descriptors of all block groups. Their numbers are stored as a low and a high half. @see
 *  https://docs.kernel.org/filesystems/ext4/globals.html */
export class GroupDescriptors {
  readonly bytes: Buffer;
  readonly #layout: Ext4Layout;

  constructor(bytes: Buffer, layout: Ext4Layout) {
    this.bytes = bytes;
    this.#layout = layout;
  }

  blockBitmap(group: number): number {
    return this.#block(group, 0x0, 0x20);
  }

  inodeBitmap(group: number): number {
    return this.#block(group, 0x4, 0x24);
  }

  inodeTable(group: number): number {
    return this.#block(group, 0x8, 0x28);
  }

  /** BLOCK_UNINIT: the block bitmap is not initialized; only a backup of superblock and descriptors may be in use. */
  hasNoBlockBitmap(group: number): boolean {
    return (this.#flags(group) & UNINITIALIZED.blocks) !== 0;
  }

  freeBlocks(group: number): number {
    return this.#halves(group, 0xc, 0x2c);
  }

  /** Records a block bitmap that has been written. */
  setBlocks(group: number, free: number, bitmap: Buffer): void {
    this.#setHalves(group, 0xc, 0x2c, free);
    const checksum = crc32c(this.#layout.checksumSeed, bitmap.subarray(0, this.#layout.blocksPerGroup / 8));
    this.#setHalves(group, 0x18, 0x38, checksum);
    this.#setFlags(group, this.#flags(group) & ~UNINITIALIZED.blocks);
  }

  /** Records an inode bitmap that has been written. @param used inodes, from the first on; @param directories among
   *  them. */
  setInodes(group: number, used: number, directories: number, bitmap: Buffer): void {
    const { inodesPerGroup, checksumSeed } = this.#layout;
    this.#setHalves(group, 0xe, 0x2e, inodesPerGroup - used);
    this.#setHalves(group, 0x10, 0x30, directories);
    this.#setHalves(group, 0x1c, 0x32, inodesPerGroup - used);
    this.#setHalves(group, 0x1a, 0x3a, crc32c(checksumSeed, bitmap.subarray(0, inodesPerGroup / 8)));
    this.#setFlags(group, this.#flags(group) & ~UNINITIALIZED.inodes);
  }

  /** Computes the checksums, when everything is recorded. */
  seal(): void {
    const number = Buffer.alloc(4);
    for (let group = 0; group < this.#layout.groups; group += 1) {
      const descriptor = this.bytes.subarray(group * DESCRIPTOR_BYTES, (group + 1) * DESCRIPTOR_BYTES);
      number.writeUInt32LE(group);
      descriptor.writeUInt16LE(0, 0x1e);
      descriptor.writeUInt16LE(crc32c(crc32c(this.#layout.checksumSeed, number), descriptor) & 0xffff, 0x1e);
    }
  }

  #block(group: number, low: number, high: number): number {
    const at = group * DESCRIPTOR_BYTES;
    return this.bytes.readUInt32LE(at + low) + this.bytes.readUInt32LE(at + high) * 2 ** 32;
  }

  #halves(group: number, low: number, high: number): number {
    const at = group * DESCRIPTOR_BYTES;
    return this.bytes.readUInt16LE(at + low) + this.bytes.readUInt16LE(at + high) * 2 ** 16;
  }

  #setHalves(group: number, low: number, high: number, value: number): void {
    const at = group * DESCRIPTOR_BYTES;
    this.bytes.writeUInt16LE(value & 0xffff, at + low);
    this.bytes.writeUInt16LE(value >>> 16, at + high);
  }

  #flags(group: number): number {
    return this.bytes.readUInt16LE(group * DESCRIPTOR_BYTES + 0x12);
  }

  #setFlags(group: number, flags: number): void {
    this.bytes.writeUInt16LE(flags, group * DESCRIPTOR_BYTES + 0x12);
  }
}
