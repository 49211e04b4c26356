import {
  blocksInMap,
  type Ext4Inode,
  encodeInode,
  INODE_BYTES,
  inodeSeed,
  setLinks,
} from '../../formats/ext4/inode.ts';
import type { Region } from '../region.ts';
import type { Ext4Allocator } from './allocator.ts';

/** The number of inodes per write. */
const WINDOW = 1024;

/** Writes inodes. Most come in ascending order; that of a directory comes after everything below it. */
export class InodeTable {
  readonly #region: Region;
  readonly #allocator: Ext4Allocator;
  readonly #window = Buffer.alloc(WINDOW * INODE_BYTES);
  /** The first inode of the window, and how many are in it. It only moves forward. */
  #first = 0;
  #count = 0;

  constructor(region: Region, allocator: Ext4Allocator) {
    this.#region = region;
    this.#allocator = allocator;
  }

  write(number: number, inode: Ext4Inode): void {
    this.#moveTo(number);
    const slot = this.#holds(number) ? this.#slot(number) : Buffer.alloc(INODE_BYTES);
    encodeInode(inode, slot, this.seed(number));
    if (!this.#holds(number)) this.#region.write(this.#at(number), slot);
  }

  /** Updates the link count of an inode that has been written. */
  setLinks(number: number, links: number): void {
    const slot = this.#holds(number) ? this.#slot(number) : this.#region.read(this.#at(number), INODE_BYTES);
    setLinks(slot, links, this.seed(number));
    if (!this.#holds(number)) this.#region.write(this.#at(number), slot);
  }

  /** The blocks of an inode that mkfs has made. */
  blocksOf(number: number): number[] {
    return blocksInMap(this.#region.read(this.#at(number), INODE_BYTES));
  }

  /** Seed of the checksums of an inode and its blocks. */
  seed(number: number): number {
    return inodeSeed(this.#allocator.layout.checksumSeed, number);
  }

  flush(): void {
    if (this.#count === 0) return;
    this.#region.write(this.#at(this.#first), this.#window.subarray(0, this.#count * INODE_BYTES));
    this.#window.fill(0);
    this.#count = 0;
  }

  /** Moves the window forward. Inodes that it skips are directories, which are written later. */
  #moveTo(number: number): void {
    if (number < this.#first) return;
    const { inodesPerGroup } = this.#allocator.layout;
    const groupOf = (inode: number): number => Math.floor((inode - 1) / inodesPerGroup);
    if (number >= this.#first + WINDOW || groupOf(number) !== groupOf(this.#first)) {
      this.flush();
      this.#first = number;
    }
    this.#count = Math.max(this.#count, number - this.#first + 1);
  }

  #holds(number: number): boolean {
    return number >= this.#first && number < this.#first + this.#count;
  }

  #slot(number: number): Buffer {
    const at = (number - this.#first) * INODE_BYTES;
    return this.#window.subarray(at, at + INODE_BYTES);
  }

  #at(number: number): number {
    return this.#allocator.inodeAt(number, INODE_BYTES);
  }
}
