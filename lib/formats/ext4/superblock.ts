import { boundedBytes } from '../bounded.ts';
import { crc32c, WRONG_CHECKSUM } from '../crc32c.ts';
import { formatUuid } from '../guid.ts';

/** Where the superblock is in the filesystem, and how long. */
export const SUPERBLOCK_AT = 1024;
export const SUPERBLOCK_BYTES = 1024;
const CHECKSUM_AT = 0x3fc;

const COMPATIBLE = { hasJournal: 0x4 };
const INCOMPATIBLE = { journalDevice: 0x8, metaGroups: 0x10, extents: 0x40, bits64: 0x80, checksumSeed: 0x2000 };
const READ_ONLY = { sparseSuper: 0x1, metadataChecksums: 0x400, readOnly: 0x1000, sharedBlocks: 0x4000 };

/** Blocks of 64 KiB. */
const LARGEST_LOG_BLOCK = 6;

/** The superblock of an ext2, ext3 or ext4. Counts are clamped, but otherwise not validated: the image may be damaged
 *  or hostile. */
export interface Ext4Superblock {
  readonly type: 'ext2' | 'ext3' | 'ext4';
  /** Lower case. */
  readonly uuid: string;
  readonly label: string;
  readonly blockBytes: number;
  readonly blocks: number;
  readonly freeBlocks: number;
  readonly sizeBytes: number;
  /** Not more than sizeBytes. */
  readonly freeBytes: number;
  readonly inodes: number;
  readonly freeInodes: number;
  readonly inodeBytes: number;
  readonly firstDataBlock: number;
  readonly blocksPerGroup: number;
  readonly inodesPerGroup: number;
  readonly descriptorBytes: number;
  /** The first group whose descriptors do not follow the superblock (meta_bg); undefined without that feature. */
  readonly firstMetaGroup: number | undefined;
  readonly isSparse: boolean;
  readonly hasErrors: boolean;
  /** Whether a kernel may write to it. */
  readonly isWritable: boolean;
  readonly isJournalDevice: boolean;
  readonly hasChecksums: boolean;
  /** Seed of all checksums except the superblock's. */
  readonly checksumSeed: number;
  /** Seconds since 1970. */
  readonly lastChecked: number;
  /** Damage that keeps a kernel from mounting it, phrased to follow "the filesystem". */
  readonly damage: string | undefined;
  /** An inconsistency that a kernel tolerates, phrased in the same way. */
  readonly oddity: string | undefined;
}

/** Decodes a superblock; undefined when there is none. @see https://docs.kernel.org/filesystems/ext4/super.html */
export function parseExt4Superblock(bytes: Buffer): Ext4Superblock | undefined {
  if (bytes.length < SUPERBLOCK_BYTES || bytes.readUInt16LE(0x38) !== 0xef53) return undefined;
  const compatible = bytes.readUInt32LE(0x5c);
  const incompatible = bytes.readUInt32LE(0x60);
  const readOnly = bytes.readUInt32LE(0x64);
  const is64 = (incompatible & INCOMPATIBLE.bits64) !== 0;
  const wide = (low: number, high: number): bigint =>
    BigInt(bytes.readUInt32LE(low)) | (is64 ? BigInt(bytes.readUInt32LE(high)) << 32n : 0n);
  const [blocks, freeBlocks] = [wide(0x4, 0x150), wide(0xc, 0x158)];
  const logBlock = bytes.readUInt32LE(0x18);
  const blockBytes = 1024 << Math.min(logBlock, LARGEST_LOG_BLOCK);
  const sizeBytes = boundedBytes(blocks, blockBytes);
  const hasChecksums = (readOnly & READ_ONLY.metadataChecksums) !== 0;
  const isSound = !hasChecksums || crc32c(~0, bytes.subarray(0, CHECKSUM_AT)) === bytes.readUInt32LE(CHECKSUM_AT);
  const isDynamic = bytes.readUInt32LE(0x4c) > 0;
  return {
    type:
      (incompatible & INCOMPATIBLE.extents) !== 0
        ? 'ext4'
        : (compatible & COMPATIBLE.hasJournal) !== 0
          ? 'ext3'
          : 'ext2',
    uuid: formatUuid(bytes.subarray(0x68, 0x78)),
    label: textOf(bytes.subarray(0x78, 0x88)),
    ...{ blockBytes, sizeBytes, blocks: boundedBytes(blocks, 1), freeBlocks: boundedBytes(freeBlocks, 1) },
    freeBytes: Math.min(boundedBytes(freeBlocks, blockBytes), sizeBytes),
    inodes: bytes.readUInt32LE(0x0),
    freeInodes: bytes.readUInt32LE(0x10),
    inodeBytes: isDynamic ? bytes.readUInt16LE(0x58) : 128,
    firstDataBlock: bytes.readUInt32LE(0x14),
    blocksPerGroup: bytes.readUInt32LE(0x20),
    inodesPerGroup: bytes.readUInt32LE(0x28),
    descriptorBytes: is64 ? Math.max(64, bytes.readUInt16LE(0xfe)) : 32,
    firstMetaGroup: (incompatible & INCOMPATIBLE.metaGroups) === 0 ? undefined : bytes.readUInt32LE(0x104),
    isSparse: (readOnly & READ_ONLY.sparseSuper) !== 0,
    hasErrors: (bytes.readUInt16LE(0x3a) & 2) !== 0,
    isWritable: (readOnly & (READ_ONLY.readOnly | READ_ONLY.sharedBlocks)) === 0,
    isJournalDevice: (incompatible & INCOMPATIBLE.journalDevice) !== 0,
    hasChecksums,
    checksumSeed:
      (incompatible & INCOMPATIBLE.checksumSeed) === 0
        ? crc32c(~0, bytes.subarray(0x68, 0x78))
        : bytes.readUInt32LE(0x270),
    lastChecked: bytes.readUInt32LE(0x40),
    damage: !isSound
      ? WRONG_CHECKSUM
      : logBlock > LARGEST_LOG_BLOCK
        ? `has a superblock that claims blocks of 2^${logBlock + 10} bytes`
        : undefined,
    oddity: freeBlocks > blocks ? `has a superblock that claims ${freeBlocks} free blocks of ${blocks}` : undefined,
  };
}

function textOf(bytes: Buffer): string {
  return bytes.toString('utf8').replace(/\0.*$/s, '').trimEnd();
}

type Kind = 'u8' | 'u16' | 'u32' | 'hex' | 'text' | 'uuid' | 'time';

/** Fields by their names in dumpe2fs: offset, bytes, kind. The low halves of 64-bit numbers; the high halves have no
 *  names.
 *  @see dumpe2fs(8) */
const FIELDS: readonly (readonly [name: string, at: number, bytes: number, kind: Kind])[] = [
  ['Inode count', 0x0, 4, 'u32'],
  ['Block count', 0x4, 4, 'u32'],
  ['Reserved block count', 0x8, 4, 'u32'],
  ['Free blocks', 0xc, 4, 'u32'],
  ['Free inodes', 0x10, 4, 'u32'],
  ['First block', 0x14, 4, 'u32'],
  ['Block size (log)', 0x18, 4, 'u32'],
  ['Blocks per group', 0x20, 4, 'u32'],
  ['Inodes per group', 0x28, 4, 'u32'],
  ['Last mount time', 0x2c, 4, 'time'],
  ['Last write time', 0x30, 4, 'time'],
  ['Mount count', 0x34, 2, 'u16'],
  ['Maximum mount count', 0x36, 2, 'u16'],
  ['Filesystem state', 0x3a, 2, 'hex'],
  ['Errors behavior', 0x3c, 2, 'u16'],
  ['Last checked', 0x40, 4, 'time'],
  ['Check interval', 0x44, 4, 'u32'],
  ['Filesystem OS type', 0x48, 4, 'u32'],
  ['Filesystem revision', 0x4c, 4, 'u32'],
  ['First inode', 0x54, 4, 'u32'],
  ['Inode size', 0x58, 2, 'u16'],
  ['Compatible features', 0x5c, 4, 'hex'],
  ['Incompatible features', 0x60, 4, 'hex'],
  ['Read-only compatible features', 0x64, 4, 'hex'],
  ['Filesystem UUID', 0x68, 16, 'uuid'],
  ['Filesystem volume name', 0x78, 16, 'text'],
  ['Last mounted on', 0x88, 64, 'text'],
  ['Reserved GDT blocks', 0xce, 2, 'u16'],
  ['Journal UUID', 0xd0, 16, 'uuid'],
  ['Journal inode', 0xe0, 4, 'u32'],
  ['First orphan inode', 0xe8, 4, 'u32'],
  ['Directory Hash Seed', 0xec, 16, 'uuid'],
  ['Default directory hash', 0xfc, 1, 'u8'],
  ['Journal backup', 0xfd, 1, 'u8'],
  ['Group descriptor size', 0xfe, 2, 'u16'],
  ['Default mount options', 0x100, 4, 'hex'],
  ['Filesystem created', 0x108, 4, 'time'],
  ['Required extra isize', 0x15c, 2, 'u16'],
  ['Desired extra isize', 0x15e, 2, 'u16'],
  ['Filesystem flags', 0x160, 4, 'hex'],
  ['RAID stride', 0x164, 2, 'u16'],
  ['RAID stripe width', 0x170, 4, 'u32'],
  ['Flex block group size (log)', 0x174, 1, 'u8'],
  ['Checksum type', 0x175, 1, 'u8'],
  ['Lifetime writes', 0x178, 8, 'hex'],
  ['Error count', 0x194, 4, 'u32'],
  ['First error time', 0x198, 4, 'time'],
  ['Last error time', 0x1cc, 4, 'time'],
  ['Mount options', 0x200, 64, 'text'],
  ['Overhead clusters', 0x248, 4, 'u32'],
  ['Checksum seed', 0x270, 4, 'hex'],
  ['Checksum', CHECKSUM_AT, 4, 'hex'],
];

/** Formats every field as text, by its name. Nonzero bytes without a name are listed by their offset. */
export function superblockFields(bytes: Buffer): Record<string, string> {
  const fields: Record<string, string> = {};
  const named = new Set<number>();
  for (const [name, at, length, kind] of FIELDS) {
    for (let byte = at; byte < at + length; byte += 1) named.add(byte);
    fields[name] = show(bytes.subarray(at, at + length), kind);
  }
  for (let at = 0; at + 4 <= bytes.length; at += 4) {
    const word = bytes.subarray(at, at + 4);
    if (![0, 1, 2, 3].some((byte) => named.has(at + byte)) && word.some((byte) => byte !== 0))
      fields[`bytes ${at} to ${at + 3}`] = word.toString('hex');
  }
  return fields;
}

function show(bytes: Buffer, kind: Kind): string {
  switch (kind) {
    case 'u8':
      return `${bytes.readUInt8()}`;
    case 'u16':
      return `${bytes.readUInt16LE()}`;
    case 'u32':
      return `${bytes.readUInt32LE()}`;
    case 'time':
      return new Date(bytes.readUInt32LE() * 1000).toISOString();
    case 'hex':
      return `0x${Buffer.from(bytes).reverse().toString('hex')}`;
    case 'uuid':
      return formatUuid(bytes);
    case 'text':
      return textOf(bytes);
  }
}
