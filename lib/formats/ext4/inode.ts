import { boundedBytes } from '../bounded.ts';
import { crc32c } from '../crc32c.ts';
import { type FileAttribute, writeIntoInode } from './attributes.ts';
import { BLOCK_BYTES } from './layout.ts';

export const INODE_BYTES = 256;
/** i_block: the root of the extent tree, or the target of a short symbolic link. */
export const MAP_BYTES = 60;

/** i_flags. */
export const INDEXED = 0x1000;
export const EXTENTS = 0x8_0000;

/** EXT4_LINK_MAX. A directory with more links stores 1, which means "not counted" (dir_nlink); a file cannot have
 *  more. */
export const MOST_LINKS = 65_000;

/** Seconds since 1970 that an inode of 256 bytes can hold: 34 bits, from 1901 to 2446. */
export const EARLIEST_SECONDS = -(2 ** 31);
export const LATEST_SECONDS = 2 ** 34 - 2 ** 31 - 1;

export interface Ext4Inode {
  /** st_mode: permissions and type. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly sizeBytes: number;
  /** Since 1970, for all four times of the inode. */
  readonly seconds: number;
  readonly links: number;
  /** Allocated blocks, including those of the extent tree. */
  readonly blocks: number;
  readonly flags: number;
  readonly map: Buffer;
  /** Extended attributes that are stored in the inode. */
  readonly attributes?: readonly FileAttribute[] | undefined;
  /** i_file_acl: the block of the other attributes; 0 for none. */
  readonly attributeBlock?: number | undefined;
}

const MAP_AT = 0x28;
const LINKS_AT = 0x1a;
const CHECKSUM_LOW = 0x7c;
const CHECKSUM_HIGH = 0x82;
/** i_extra_isize: bytes in use after the first 128. */
const EXTRA_BYTES = 32;

const number = Buffer.alloc(4);
const GENERATION_0 = Buffer.alloc(4);

/** Seed of the checksums of an inode, its directory blocks and its extent tree: its number, and its generation, which
 *  is 0. */
export function inodeSeed(filesystemSeed: number, inode: number): number {
  number.writeUInt32LE(inode);
  return crc32c(crc32c(filesystemSeed, number), GENERATION_0);
}

/** Encodes an inode into 256 zeroed bytes. @see https://docs.kernel.org/filesystems/ext4/dynamic.html#index-nodes */
export function encodeInode(inode: Ext4Inode, bytes: Buffer, seed: number): void {
  const { mode, uid, gid, sizeBytes, seconds, blocks } = inode;
  bytes.writeUInt16LE(mode, 0x0);
  bytes.writeUInt16LE(uid & 0xffff, 0x2);
  bytes.writeUInt32LE(sizeBytes % 2 ** 32, 0x4);
  for (const at of [0x8, 0xc, 0x10, 0x90]) bytes.writeUInt32LE(seconds >>> 0, at);
  bytes.writeUInt16LE(gid & 0xffff, 0x18);
  bytes.writeUInt16LE(inode.links, LINKS_AT);
  const sectors = blocks * (BLOCK_BYTES / 512);
  bytes.writeUInt32LE(sectors % 2 ** 32, 0x1c);
  bytes.writeUInt32LE(inode.flags, 0x20);
  inode.map.copy(bytes, MAP_AT);
  bytes.writeUInt32LE(Math.floor(sizeBytes / 2 ** 32), 0x6c);
  bytes.writeUInt16LE(Math.floor(sectors / 2 ** 32), 0x74);
  bytes.writeUInt16LE(uid >>> 16, 0x78);
  bytes.writeUInt16LE(gid >>> 16, 0x7a);
  bytes.writeUInt16LE(EXTRA_BYTES, 0x80);
  const { attributes = [], attributeBlock = 0 } = inode;
  bytes.writeUInt32LE(attributeBlock % 2 ** 32, 0x68);
  bytes.writeUInt16LE(Math.floor(attributeBlock / 2 ** 32), 0x76);
  if (attributes.length > 0) writeIntoInode(attributes, attributeRoom(bytes));
  // Two more bits for the seconds: how often the signed 32-bit number has wrapped since 1970.
  const epoch = (seconds - (seconds | 0)) / 2 ** 32;
  for (const at of [0x84, 0x88, 0x8c, 0x94]) bytes.writeUInt32LE(epoch, at);
  sealInode(bytes, seed);
}

/** The space of an inode for attributes. */
function attributeRoom(bytes: Buffer): Buffer {
  return bytes.subarray(128 + EXTRA_BYTES);
}

/** Whether attributes fit into an inode. */
export function fitsIntoInode(attributes: readonly FileAttribute[]): boolean {
  return writeIntoInode(attributes, attributeRoom(Buffer.alloc(INODE_BYTES)));
}

/** Updates the link count of an encoded inode. */
export function setLinks(bytes: Buffer, links: number, seed: number): void {
  bytes.writeUInt16LE(links, LINKS_AT);
  sealInode(bytes, seed);
}

function sealInode(bytes: Buffer, seed: number): void {
  bytes.writeUInt16LE(0, CHECKSUM_LOW);
  bytes.writeUInt16LE(0, CHECKSUM_HIGH);
  const checksum = crc32c(seed, bytes);
  bytes.writeUInt16LE(checksum & 0xffff, CHECKSUM_LOW);
  bytes.writeUInt16LE(checksum >>> 16, CHECKSUM_HIGH);
}

/** Contiguous blocks of a file and where they are in the filesystem. */
export interface Extent {
  readonly logical: number;
  readonly physical: number;
  readonly count: number;
}

/** Longer ones are read as unwritten. */
const LONGEST_EXTENT = 32_768;
const HEADER_BYTES = 12;
const ENTRY_BYTES = 12;
const IN_INODE = (MAP_BYTES - HEADER_BYTES) / ENTRY_BYTES;
const IN_BLOCK = Math.floor((BLOCK_BYTES - HEADER_BYTES - 4) / ENTRY_BYTES);

export interface ExtentMap {
  readonly map: Buffer;
  /** Nodes of the extent tree outside of the inode. */
  readonly blocks: readonly { readonly physical: number; readonly bytes: Buffer }[];
}

/** From Node's buffer pool, because every file needs one. */
const newMap = (): Buffer => Buffer.allocUnsafe(MAP_BYTES).fill(0);

/** i_block of an inode without blocks. */
export const NO_MAP = Buffer.alloc(MAP_BYTES);

/** Encodes an extent tree, whose root is in the inode. @param seed of inodeSeed.
 *  @see https://docs.kernel.org/filesystems/ext4/dynamic.html#extent-tree */
export function extentMap(extents: readonly Extent[], allocate: () => number, seed: number): ExtentMap {
  const map = newMap();
  const leaves = extents.some(({ count }) => count > LONGEST_EXTENT) ? extents.flatMap(splitLong) : extents;
  if (leaves.length <= IN_INODE) {
    writeNode(map, leaves, IN_INODE, 0);
    return { map, blocks: [] };
  }
  const blocks: { physical: number; bytes: Buffer }[] = [];
  let nodes = leaves;
  let depth = 0;
  for (; nodes.length > IN_INODE; depth += 1) {
    const above: Extent[] = [];
    for (let first = 0; first < nodes.length; first += IN_BLOCK) {
      const bytes = Buffer.alloc(BLOCK_BYTES);
      const below = nodes.slice(first, first + IN_BLOCK);
      writeNode(bytes, below, IN_BLOCK, depth);
      const tail = HEADER_BYTES + IN_BLOCK * ENTRY_BYTES;
      bytes.writeUInt32LE(crc32c(seed, bytes.subarray(0, tail)), tail);
      const physical = allocate();
      blocks.push({ physical, bytes });
      above.push({ logical: below[0]?.logical ?? 0, physical, count: 1 });
    }
    nodes = above;
  }
  writeNode(map, nodes, IN_INODE, depth);
  return { map, blocks };
}

/** Encodes a node. @param depth 0 for a leaf, whose entries are extents; entries of other nodes point to nodes. */
function writeNode(bytes: Buffer, entries: readonly Extent[], most: number, depth: number): void {
  bytes.writeUInt16LE(0xf30a, 0);
  bytes.writeUInt16LE(entries.length, 2);
  bytes.writeUInt16LE(most, 4);
  bytes.writeUInt16LE(depth, 6);
  let at = HEADER_BYTES;
  for (const { logical, physical, count } of entries) {
    const high = Math.floor(physical / 2 ** 32);
    bytes.writeUInt32LE(logical, at);
    if (depth === 0) {
      bytes.writeUInt16LE(count, at + 4);
      bytes.writeUInt16LE(high, at + 6);
      bytes.writeUInt32LE(physical % 2 ** 32, at + 8);
    } else {
      bytes.writeUInt32LE(physical % 2 ** 32, at + 4);
      bytes.writeUInt16LE(high, at + 8);
    }
    at += ENTRY_BYTES;
  }
}

function splitLong({ logical, physical, count }: Extent): Extent[] {
  if (count <= LONGEST_EXTENT) return [{ logical, physical, count }];
  const parts: Extent[] = [];
  for (let done = 0; done < count; done += LONGEST_EXTENT)
    parts.push({
      logical: logical + done,
      physical: physical + done,
      count: Math.min(LONGEST_EXTENT, count - done),
    });
  return parts;
}

/** The blocks of an inode whose extent tree fits into it, as in those that mkfs makes.
 *  @throws {RangeError} for any other inode. */
export function blocksInMap(inode: Buffer): number[] {
  const map = inode.subarray(MAP_AT, MAP_AT + MAP_BYTES);
  if (map.readUInt16LE(0) !== 0xf30a || map.readUInt16LE(6) !== 0)
    throw new RangeError('the extent tree of an inode does not fit into the inode');
  return Array.from({ length: map.readUInt16LE(2) }, (_, index) => {
    const at = HEADER_BYTES + index * ENTRY_BYTES;
    const physical = map.readUInt32LE(at + 8) + map.readUInt16LE(at + 6) * 2 ** 32;
    return Array.from({ length: map.readUInt16LE(at + 4) }, (__, block) => physical + block);
  }).flat();
}

/** File types in the upper bits of i_mode. */
const TYPES: Readonly<Record<number, Ext4FileType>> = {
  1: 'FIFO',
  2: 'character device',
  4: 'directory',
  6: 'block device',
  8: 'regular',
  10: 'symlink',
  12: 'socket',
};

export type Ext4FileType =
  | 'FIFO'
  | 'character device'
  | 'directory'
  | 'block device'
  | 'regular'
  | 'symlink'
  | 'socket'
  | 'unknown';

export const INLINE_DATA = 0x1000_0000;

/** An inode as stored on disk, written by any program. */
export interface DecodedInode {
  readonly type: Ext4FileType;
  /** Permission bits, with setuid, setgid and sticky. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly sizeBytes: number;
  readonly links: number;
  readonly flags: number;
  readonly generation: number;
  /** Nanoseconds since 1970. */
  readonly times: { readonly atime: bigint; readonly ctime: bigint; readonly mtime: bigint; readonly crtime?: bigint };
  /** i_block. */
  readonly map: Buffer;
  /** The block of extended attributes; 0 for none. */
  readonly attributeBlock: number;
  /** The space for attributes after its fields. */
  readonly room: Buffer;
}

/** Decodes an inode. @param bytes the whole inode, as long as the filesystem's inode size. */
export function decodeInode(bytes: Buffer): DecodedInode {
  const mode = bytes.readUInt16LE(0x0);
  const type = TYPES[mode >> 12] ?? 'unknown';
  const extra = bytes.length > 130 ? Math.min(bytes.readUInt16LE(0x80), bytes.length - 128) : 0;
  const has = (at: number): boolean => at + 4 <= 128 + extra;
  const time = (at: number, extraAt: number): bigint => {
    const more = has(extraAt) ? bytes.readUInt32LE(extraAt) : 0;
    return (BigInt(bytes.readInt32LE(at)) + (BigInt(more & 3) << 32n)) * 1_000_000_000n + BigInt(more >>> 2);
  };
  const high = type === 'regular' || type === 'directory' ? bytes.readUInt32LE(0x6c) : 0;
  return {
    type,
    mode: mode & 0o7777,
    uid: bytes.readUInt16LE(0x2) + bytes.readUInt16LE(0x78) * 2 ** 16,
    gid: bytes.readUInt16LE(0x18) + bytes.readUInt16LE(0x7a) * 2 ** 16,
    sizeBytes: boundedBytes((BigInt(high) << 32n) | BigInt(bytes.readUInt32LE(0x4)), 1),
    links: bytes.readUInt16LE(LINKS_AT),
    flags: bytes.readUInt32LE(0x20),
    generation: bytes.readUInt32LE(0x64),
    times: {
      ...{ atime: time(0x8, 0x8c), ctime: time(0xc, 0x84), mtime: time(0x10, 0x88) },
      ...(has(0x90) ? { crtime: time(0x90, 0x94) } : {}),
    },
    map: bytes.subarray(MAP_AT, MAP_AT + MAP_BYTES),
    attributeBlock: bytes.readUInt32LE(0x68) + bytes.readUInt16LE(0x76) * 2 ** 32,
    room: bytes.subarray(128 + extra),
  };
}

/** A node of an extent tree. The entries of a leaf are extents; those of other nodes point to nodes. */
export interface ExtentNode {
  readonly depth: number;
  /** Excludes extents that are allocated but unwritten. */
  readonly entries: readonly Extent[];
}

/** Decodes a node of an extent tree; undefined when it is not one. */
export function decodeExtentNode(bytes: Buffer): ExtentNode | undefined {
  if (bytes.length < HEADER_BYTES || bytes.readUInt16LE(0) !== 0xf30a) return undefined;
  const count = Math.min(bytes.readUInt16LE(2), Math.floor((bytes.length - HEADER_BYTES) / ENTRY_BYTES));
  const depth = bytes.readUInt16LE(6);
  const entries: Extent[] = [];
  for (let at = HEADER_BYTES; at < HEADER_BYTES + count * ENTRY_BYTES; at += ENTRY_BYTES) {
    const logical = bytes.readUInt32LE(at);
    if (depth > 0) {
      const physical = bytes.readUInt32LE(at + 4) + bytes.readUInt16LE(at + 8) * 2 ** 32;
      entries.push({ logical, physical, count: 1 });
      continue;
    }
    const length = bytes.readUInt16LE(at + 4);
    const physical = bytes.readUInt32LE(at + 8) + bytes.readUInt16LE(at + 6) * 2 ** 32;
    if (length > 0 && length <= LONGEST_EXTENT) entries.push({ logical, physical, count: length });
  }
  return { depth, entries };
}
