import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { UnexpectedStateError } from '../errors.ts';
import type { StepRunner } from '../step.ts';
import { crc32c } from './crc32c.ts';
import { BLOCK_BYTES, type BlockRun, changed, pauses } from './data-runs.ts';

/** A file of an ext4 filesystem whose blocks are allocated, and are still to be written. */
export interface AllocatedFile {
  readonly inode: number;
  /** On this host, its bytes read as latin1. */
  readonly source: string;
  readonly sizeBytes: number;
  readonly runs: readonly BlockRun[];
}

/** What is needed of a superblock to find inodes. */
export interface Ext4Geometry {
  readonly usedInodes: number;
  readonly inodesPerGroup: number;
  readonly inodeBytes: number;
  /** The first block of each group's inode table. */
  readonly inodeTables: readonly number[];
  /** Carried on for every checksum; undefined for a filesystem without. */
  readonly checksumSeed: number | undefined;
}

/** Reads the superblock and the group descriptors of an ext4 with blocks of 4096 bytes.
 *  @see https://docs.kernel.org/filesystems/ext4/globals.html */
export function readExt4Geometry(image: string, offsetBytes: number): Ext4Geometry {
  const handle = openSync(image, 'r');
  try {
    const read = (at: number, length: number): Buffer => {
      const bytes = Buffer.alloc(length);
      readSync(handle, bytes, 0, length, offsetBytes + at);
      return bytes;
    };
    const superblock = read(1024, 1024);
    const incompatible = superblock.readUInt32LE(0x60);
    const has64Bit = (incompatible & 0x80) !== 0;
    const descriptorBytes = has64Bit ? superblock.readUInt16LE(0xfe) : 32;
    const inodes = superblock.readUInt32LE(0);
    const inodesPerGroup = superblock.readUInt32LE(0x28);
    const groups = Math.ceil(inodes / inodesPerGroup);
    const descriptors = read(BLOCK_BYTES, groups * descriptorBytes);
    const inodeTables = Array.from({ length: groups }, (_, group) => {
      const at = group * descriptorBytes;
      return descriptors.readUInt32LE(at + 8) + (has64Bit ? descriptors.readUInt32LE(at + 0x28) * 2 ** 32 : 0);
    });
    const hasChecksums = (superblock.readUInt32LE(0x64) & 0x400) !== 0;
    const seed = incompatible & 0x2000 ? superblock.readUInt32LE(0x270) : crc32c(~0, superblock.subarray(0x68, 0x78));
    return {
      usedInodes: inodes - superblock.readUInt32LE(0x10),
      inodesPerGroup,
      inodeBytes: superblock.readUInt16LE(0x58),
      inodeTables,
      checksumSeed: hasChecksums ? seed : undefined,
    };
  } finally {
    closeSync(handle);
  }
}

/** Where a piece of a file lies: blocks of the file and of the filesystem. */
interface Extent {
  readonly logical: number;
  readonly physical: number;
  readonly count: number;
}

const CHUNK_BYTES = 1024 * 1024;
const SYNC_BYTES = 64 * 1024 * 1024;

/** Writes files into the blocks that are allocated for them, and marks the blocks as written.
 *  debugfs and mke2fs copy block by block, each with a walk through the file's map: ten times as long.
 *  @throws {UnexpectedStateError} when an inode has other blocks than the file was given. */
export async function writeExt4Contents(
  step: StepRunner,
  image: string,
  offsetBytes: number,
  geometry: Ext4Geometry,
  files: readonly AllocatedFile[],
): Promise<void> {
  await using handle = await open(image, 'r+');
  const pause = pauses(step);
  const output = new GatheredOutput(handle, offsetBytes);
  const inodes = new InodeTable(handle.fd, offsetBytes, geometry);
  try {
    for (const file of files) {
      const extents = inodes.markWritten(step, file);
      const source = Buffer.from(file.source, 'latin1');
      const input = openSync(source, 'r');
      try {
        for (const { logical, physical, count } of extents)
          for (let done = 0; done < count; ) {
            await pause();
            const blocks = Math.min(count - done, CHUNK_BYTES / BLOCK_BYTES);
            const at = (logical + done) * BLOCK_BYTES;
            const wanted = Math.min(blocks * BLOCK_BYTES, file.sizeBytes - at);
            if (!output.continuesAt(physical + done, blocks)) await output.flush();
            const place = output.place(physical + done, blocks);
            if (readSync(input, place, 0, wanted, at) < wanted) throw changed(step, source);
            // What lies behind the end of a file in its last block reads as zeros when the file grows.
            place.fill(0, wanted);
            done += blocks;
          }
      } finally {
        closeSync(input);
      }
    }
    inodes.flush();
  } finally {
    await output.end();
  }
}

/** Blocks that follow each other go out in one write, for most files have but a few; while one buffer is written, the
 *  other is filled. */
class GatheredOutput {
  private readonly handle: FileHandle;
  private readonly offsetBytes: number;
  private buffer = Buffer.allocUnsafe(CHUNK_BYTES);
  private other = Buffer.allocUnsafe(CHUNK_BYTES);
  private written: Promise<void> = Promise.resolve();
  private first = 0;
  private blocks = 0;
  private unsyncedBytes = 0;
  private syncing = false;
  private synced: Promise<void> = Promise.resolve();

  constructor(handle: FileHandle, offsetBytes: number) {
    this.handle = handle;
    this.offsetBytes = offsetBytes;
  }

  /** Whether blocks at a place in the filesystem go out together with those before; else flush first. */
  continuesAt(physical: number, blocks: number): boolean {
    return physical === this.first + this.blocks && (this.blocks + blocks) * BLOCK_BYTES <= CHUNK_BYTES;
  }

  /** Room for blocks at a place in the filesystem. */
  place(physical: number, blocks: number): Buffer {
    if (this.blocks === 0) this.first = physical;
    const start = this.blocks * BLOCK_BYTES;
    this.blocks += blocks;
    return this.buffer.subarray(start, start + blocks * BLOCK_BYTES);
  }

  /** Begins to write what there is, when what was there before is written. */
  async flush(): Promise<void> {
    await this.written;
    const full = this.buffer.subarray(0, this.blocks * BLOCK_BYTES);
    this.written = writeAll(this.handle, full, this.offsetBytes + this.first * BLOCK_BYTES);
    // Awaited at the next flush, before which there may be other things to wait for.
    this.written.catch(() => undefined);
    this.startSync(full.length);
    [this.buffer, this.other] = [this.other, this.buffer];
    this.blocks = 0;
  }

  async end(): Promise<void> {
    await this.flush();
    await this.written;
    await this.synced;
  }

  /** Whoever closes the image, e2fsprogs first, waits until it is on disk: better that begins early. */
  private startSync(bytes: number): void {
    this.unsyncedBytes += bytes;
    if (this.unsyncedBytes < SYNC_BYTES || this.syncing) return;
    this.unsyncedBytes = 0;
    this.syncing = true;
    this.synced = this.handle.datasync().finally(() => {
      this.syncing = false;
    });
    this.synced.catch(() => undefined);
  }
}

const EXTENTS_FLAG = 0x8_0000;
/** Where an inode holds its map, its generation and the two halves of its checksum. */
const MAP = 0x28;
const MAP_BYTES = 60;
const GENERATION = 0x64;
const CHECKSUM_LOW = 0x7c;
const CHECKSUM_HIGH = 0x82;
/** An extent longer than this is allocated and not written, and this much shorter than it says. */
const LONGEST_WRITTEN = 32_768;

/** The inodes, a block at a time.
 *  @see https://docs.kernel.org/filesystems/ext4/dynamic.html */
class InodeTable {
  private readonly handle: number;
  private readonly offsetBytes: number;
  private readonly geometry: Ext4Geometry;
  private readonly block = Buffer.alloc(BLOCK_BYTES);
  private at = -1;

  constructor(handle: number, offsetBytes: number, geometry: Ext4Geometry) {
    this.handle = handle;
    this.offsetBytes = offsetBytes;
    this.geometry = geometry;
  }

  /** Marks a file's extents as written, and returns them. */
  markWritten(step: StepRunner, file: AllocatedFile): Extent[] {
    const inode = this.find(file.inode);
    const { checksumSeed } = this.geometry;
    const ofFile = checksumSeed === undefined ? undefined : crc32c(checksumSeed, numbers(file.inode));
    const seed = ofFile === undefined ? undefined : crc32c(ofFile, inode.subarray(GENERATION, GENERATION + 4));
    const extents: Extent[] = [];
    if ((inode.readUInt32LE(0x20) & EXTENTS_FLAG) !== 0) this.walk(inode.subarray(MAP, MAP + MAP_BYTES), seed, extents);
    const sizeBytes = inode.readUInt32LE(4) + inode.readUInt32LE(0x6c) * 2 ** 32;
    if (sizeBytes !== file.sizeBytes || !covers(extents, file.runs))
      throw new UnexpectedStateError(step.step, `inode ${file.inode} is not the one that was made for ${file.source}`, {
        expected: `${file.sizeBytes} bytes in ${describe(file.runs)}`,
        found: `${sizeBytes} bytes in ${describe(extents.map(({ logical, count }) => ({ start: logical, count })))}`,
      });
    if (seed !== undefined) {
      inode.writeUInt16LE(0, CHECKSUM_LOW);
      inode.writeUInt16LE(0, CHECKSUM_HIGH);
      const checksum = crc32c(seed, inode);
      inode.writeUInt16LE(checksum & 0xffff, CHECKSUM_LOW);
      inode.writeUInt16LE(checksum >>> 16, CHECKSUM_HIGH);
    }
    return extents;
  }

  flush(): void {
    if (this.at !== -1) writeAllSync(this.handle, this.block, this.offsetBytes + this.at);
  }

  private find(inode: number): Buffer {
    const { inodesPerGroup, inodeBytes, inodeTables } = this.geometry;
    const table = inodeTables[Math.floor((inode - 1) / inodesPerGroup)] ?? 0;
    const at = table * BLOCK_BYTES + ((inode - 1) % inodesPerGroup) * inodeBytes;
    const start = at - (at % BLOCK_BYTES);
    if (start !== this.at) {
      this.flush();
      readSync(this.handle, this.block, 0, BLOCK_BYTES, this.offsetBytes + start);
      this.at = start;
    }
    return this.block.subarray(at - start, at - start + inodeBytes);
  }

  /** A node of the extent tree: in the inode, or a block of its own. */
  private walk(node: Buffer, seed: number | undefined, extents: Extent[]): void {
    const entries = node.readUInt16LE(2);
    const depth = node.readUInt16LE(6);
    for (let entry = 12; entry < 12 + entries * 12; entry += 12) {
      if (depth > 0) {
        const at = (node.readUInt32LE(entry + 4) + node.readUInt16LE(entry + 8) * 2 ** 32) * BLOCK_BYTES;
        const below = Buffer.alloc(BLOCK_BYTES);
        readSync(this.handle, below, 0, BLOCK_BYTES, this.offsetBytes + at);
        this.walk(below, seed, extents);
        const tail = 12 + below.readUInt16LE(4) * 12;
        if (seed !== undefined) below.writeUInt32LE(crc32c(seed, below.subarray(0, tail)), tail);
        writeAllSync(this.handle, below, this.offsetBytes + at);
        continue;
      }
      const length = node.readUInt16LE(entry + 4);
      const count = length > LONGEST_WRITTEN ? length - LONGEST_WRITTEN : length;
      node.writeUInt16LE(count, entry + 4);
      const physical = node.readUInt32LE(entry + 8) + node.readUInt16LE(entry + 6) * 2 ** 32;
      extents.push({ logical: node.readUInt32LE(entry), physical, count });
    }
  }
}

/** Whether extents hold exactly these blocks. */
function covers(extents: readonly Extent[], runs: readonly BlockRun[]): boolean {
  let next = 0;
  for (const { start, count } of runs)
    for (let at = start; at < start + count; next += 1) {
      const extent = extents[next];
      if (extent === undefined || extent.logical !== at || at + extent.count > start + count) return false;
      at += extent.count;
    }
  return next === extents.length;
}

function describe(runs: readonly BlockRun[]): string {
  return `blocks ${runs.map(({ start, count }) => `${start}-${start + count - 1}`).join(', ')}`;
}

function numbers(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

async function writeAll(handle: FileHandle, bytes: Buffer, at: number): Promise<void> {
  for (let done = 0; done < bytes.length; )
    done += (await handle.write(bytes, done, bytes.length - done, at + done)).bytesWritten;
}

function writeAllSync(handle: number, bytes: Buffer, at: number): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(handle, bytes, done, bytes.length - done, at + done);
}
