import {
  BLOCK_BYTES,
  type Ext4Layout,
  GroupDescriptors,
  hasSuperblock,
  layoutOf,
  updateSuperblock,
} from '../../formats/ext4/layout.ts';
import { SUPERBLOCK_AT, SUPERBLOCK_BYTES } from '../../formats/ext4/superblock.ts';
import type { Region } from '../region.ts';

/** Contiguous blocks of the filesystem. */
export interface BlockRange {
  readonly physical: number;
  readonly count: number;
}

/** A filesystem has no free block or inode. */
export class FilesystemFullError extends Error {}

/** Allocates the blocks and inodes of a filesystem that mkfs has just made, in ascending order, and finally writes the
 *  bitmaps. */
export class Ext4Allocator {
  readonly layout: Ext4Layout;
  readonly #region: Region;
  readonly #descriptors: GroupDescriptors;
  #freeBlocks: number;
  /** The current group, its block bitmap, and the next bit to look at. */
  #group = -1;
  #bitmap: Buffer = Buffer.alloc(BLOCK_BYTES);
  #bit = 0;
  #bits = 0;
  #taken = 0;
  #lastInode: number;
  /** Number of directories in each group. The first has the root and lost+found. */
  readonly #directories: number[];

  constructor(region: Region) {
    this.#region = region;
    this.layout = layoutOf(region.read(SUPERBLOCK_AT, SUPERBLOCK_BYTES));
    const { descriptorBlocks, groups, inodes, freeInodes, freeBlocks } = this.layout;
    this.#descriptors = new GroupDescriptors(region.read(BLOCK_BYTES, descriptorBlocks * BLOCK_BYTES), this.layout);
    this.#freeBlocks = freeBlocks;
    // mkfs uses the first inodes, without a gap.
    this.#lastInode = inodes - freeInodes;
    this.#directories = new Array<number>(groups).fill(0);
    this.#directories[0] = 2;
  }

  /** Allocates the next free blocks. @throws {FilesystemFullError} */
  take(count: number): BlockRange[] {
    const ranges: { physical: number; count: number }[] = [];
    for (let missing = count; missing > 0; ) {
      while (this.#bit < this.#bits && this.#isTaken(this.#bit)) this.#bit += 1;
      if (this.#bit === this.#bits) {
        this.#enterNextGroup();
        continue;
      }
      const first = this.#bit;
      while (this.#bit < this.#bits && missing > 0 && !this.#isTaken(this.#bit)) {
        mark(this.#bitmap, this.#bit);
        this.#bit += 1;
        missing -= 1;
      }
      const physical = this.#group * this.layout.blocksPerGroup + first;
      const last = ranges.at(-1);
      if (last !== undefined && last.physical + last.count === physical) last.count += this.#bit - first;
      else ranges.push({ physical, count: this.#bit - first });
      this.#taken += this.#bit - first;
    }
    return ranges;
  }

  /** Allocates the next free inode. @throws {FilesystemFullError} */
  nextInode(isDirectory: boolean): number {
    if (this.#lastInode === this.layout.inodes)
      throw new FilesystemFullError(`all ${this.layout.inodes} inodes are in use`);
    this.#lastInode += 1;
    if (isDirectory) {
      const group = Math.floor((this.#lastInode - 1) / this.layout.inodesPerGroup);
      this.#directories[group] = (this.#directories[group] ?? 0) + 1;
    }
    return this.#lastInode;
  }

  /** The offset of an inode, in bytes from the start of the filesystem. */
  inodeAt(inode: number, inodeBytes: number): number {
    const { inodesPerGroup } = this.layout;
    const table = this.#descriptors.inodeTable(Math.floor((inode - 1) / inodesPerGroup));
    return table * BLOCK_BYTES + ((inode - 1) % inodesPerGroup) * inodeBytes;
  }

  /** Writes the bitmaps, the descriptors and the superblock, and the backups.
   *  @param seconds since 1970, for the superblock. */
  finish(seconds: number): void {
    this.#leaveGroup();
    this.#writeInodeBitmaps();
    this.#descriptors.seal();
    const { groups, blocksPerGroup, inodes } = this.layout;
    for (let group = 0; group < groups; group += 1) {
      if (!hasSuperblock(group)) continue;
      const start = group * blocksPerGroup * BLOCK_BYTES;
      const at = group === 0 ? SUPERBLOCK_AT : start;
      const superblock = this.#region.read(at, SUPERBLOCK_BYTES);
      updateSuperblock(superblock, this.#freeBlocks, inodes - this.#lastInode, seconds);
      this.#region.write(at, superblock);
      this.#region.write(start + BLOCK_BYTES, this.#descriptors.bytes);
    }
  }

  #isTaken(bit: number): boolean {
    return ((this.#bitmap[bit >> 3] ?? 0) & (1 << (bit & 7))) !== 0;
  }

  #enterNextGroup(): void {
    this.#leaveGroup();
    this.#group += 1;
    if (this.#group >= this.layout.groups) throw new FilesystemFullError(`all ${this.layout.blocks} blocks are in use`);
    this.#bitmap = this.#readBlockBitmap(this.#group);
    this.#bit = 0;
    this.#bits = this.#blocksIn(this.#group);
  }

  #leaveGroup(): void {
    if (this.#taken === 0) return;
    this.#writeBlockBitmap(this.#group, this.#bitmap, this.#descriptors.freeBlocks(this.#group) - this.#taken);
    this.#freeBlocks -= this.#taken;
    this.#taken = 0;
  }

  #blocksIn(group: number): number {
    const { blocks, blocksPerGroup } = this.layout;
    return Math.min(blocksPerGroup, blocks - group * blocksPerGroup);
  }

  #readBlockBitmap(group: number): Buffer {
    if (!this.#descriptors.hasNoBlockBitmap(group))
      return this.#region.read(this.#descriptors.blockBitmap(group) * BLOCK_BYTES, BLOCK_BYTES);
    const bitmap = Buffer.alloc(BLOCK_BYTES);
    const { descriptorBlocks, reservedDescriptorBlocks } = this.layout;
    const inUse = hasSuperblock(group) ? 1 + descriptorBlocks + reservedDescriptorBlocks : 0;
    const blocks = this.#blocksIn(group);
    if (blocks - inUse !== this.#descriptors.freeBlocks(group))
      throw new RangeError(`group ${group} of the filesystem has other blocks in use than a backup of the superblock`);
    for (let bit = 0; bit < inUse; bit += 1) mark(bitmap, bit);
    for (let bit = blocks; bit < BLOCK_BYTES * 8; bit += 1) mark(bitmap, bit);
    return bitmap;
  }

  #writeBlockBitmap(group: number, bitmap: Buffer, free: number): void {
    this.#region.write(this.#descriptors.blockBitmap(group) * BLOCK_BYTES, bitmap);
    this.#descriptors.setBlocks(group, free, bitmap);
  }

  #writeInodeBitmaps(): void {
    const { inodesPerGroup } = this.layout;
    for (let group = 0; group * inodesPerGroup < this.#lastInode; group += 1) {
      const used = Math.min(inodesPerGroup, this.#lastInode - group * inodesPerGroup);
      const bitmap = Buffer.alloc(BLOCK_BYTES, 0xff);
      for (let bit = used; bit < inodesPerGroup; bit += 1) unmark(bitmap, bit);
      this.#region.write(this.#descriptors.inodeBitmap(group) * BLOCK_BYTES, bitmap);
      this.#descriptors.setInodes(group, used, this.#directories[group] ?? 0, bitmap);
      // Linux expects an initialized block bitmap where inodes are in use.
      if (this.#descriptors.hasNoBlockBitmap(group))
        this.#writeBlockBitmap(group, this.#readBlockBitmap(group), this.#descriptors.freeBlocks(group));
    }
  }
}

function mark(bitmap: Buffer, bit: number): void {
  bitmap[bit >> 3] = (bitmap[bit >> 3] ?? 0) | (1 << (bit & 7));
}

function unmark(bitmap: Buffer, bit: number): void {
  bitmap[bit >> 3] = (bitmap[bit >> 3] ?? 0) & ~(1 << (bit & 7));
}
