import { SUPERBLOCK_AT as BTRFS_SUPERBLOCK_AT, parseBtrfs } from '../filesystem/btrfs.ts';
import { crc32c } from '../filesystem/crc32c.ts';
import { SUPERBLOCK_AT as F2FS_SUPERBLOCK_AT, parseF2fs } from '../filesystem/f2fs.ts';
import type { FilesystemFacts } from '../filesystem/root-filesystem.ts';
import { parseXfs } from '../filesystem/xfs.ts';
import { formatUuid } from '../guid.ts';
import type { Finding } from './finding.ts';
import type { ImageReader } from './image-reader.ts';

/** What a partition holds, told by its first bytes. */
export interface FoundFilesystem {
  readonly type: string;
  readonly label: string;
  /** As /dev/disk/by-uuid has it. */
  readonly uuid: string;
  readonly sizeBytes: number | undefined;
  readonly freeBytes: number | undefined;
  readonly findings: readonly Finding[];
}

interface Place {
  readonly number: number;
  readonly offsetBytes: number;
  readonly sizeBytes: number;
}

/** Identifies a filesystem by its superblock; undefined when there is none that is known here.
 *  @see blkid(8), whose names for types these are. */
export async function readFilesystem(image: ImageReader, place: Place): Promise<FoundFilesystem | undefined> {
  const head = await image.read(place.offsetBytes, 0x1_1000);
  if (head.length < 4096) return undefined;
  for (const reader of [ext4, btrfs, xfs, fat, f2fs, swap, luks, lvm]) {
    const found = reader(head, place);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** With less no system starts: its first log takes more. */
const NEARLY_FULL_BYTES = 256 * 1024;

type Reader = (head: Buffer, place: Place) => FoundFilesystem | undefined;

const text = (bytes: Buffer): string => bytes.toString('utf8').replace(/\0.*$/s, '').trimEnd();
const plain = (type: string, uuid: string, label = ''): FoundFilesystem => ({
  ...{ type, label, uuid, sizeBytes: undefined, freeBytes: undefined, findings: [] },
});

/** @see https://docs.kernel.org/filesystems/ext4/globals.html */
const ext4: Reader = (head, { number, sizeBytes: room }) => {
  const superblock = head.subarray(1024, 2048);
  if (superblock.readUInt16LE(0x38) !== 0xef53) return undefined;
  const incompatible = superblock.readUInt32LE(0x60);
  const compatible = superblock.readUInt32LE(0x5c);
  const blockBytes = 1024 << superblock.readUInt32LE(0x18);
  const high = incompatible & 0x80 ? 2 ** 32 : 0;
  const sizeBytes = (superblock.readUInt32LE(4) + superblock.readUInt32LE(0x150) * high) * blockBytes;
  const freeBytes = (superblock.readUInt32LE(0xc) + superblock.readUInt32LE(0x158) * high) * blockBytes;
  const findings: Finding[] = [];
  const say = (name: string, severity: Finding['severity'], message: string) =>
    findings.push({ name, severity, stage: 'stage 1', message: `the ext4 of partition ${number} ${message}` });
  const hasChecksum = (superblock.readUInt32LE(0x64) & 0x400) !== 0;
  if (hasChecksum && crc32c(~0, superblock.subarray(0, 0x3fc)) !== superblock.readUInt32LE(0x3fc))
    say('superblock-damaged', 'fatal', 'has a superblock whose checksum is wrong');
  if (sizeBytes > room) say('filesystem-too-large', 'fatal', `has ${sizeBytes} bytes, and the partition has ${room}`);
  if ((superblock.readUInt16LE(0x3a) & 2) !== 0) say('filesystem-errors', 'error', 'is marked as having errors');
  if (freeBytes < NEARLY_FULL_BYTES) say('filesystem-full', 'error', `has no more than ${freeBytes} free bytes`);
  else if (superblock.readUInt32LE(0x10) === 0) say('filesystem-full', 'error', 'has no free inode');
  const type = incompatible & 0x40 ? 'ext4' : compatible & 4 ? 'ext3' : 'ext2';
  return {
    ...{ type, label: text(superblock.subarray(0x78, 0x88)), uuid: formatUuid(superblock.subarray(0x68, 0x78)) },
    ...{ sizeBytes, freeBytes, findings },
  };
};

const btrfs: Reader = (head) => known('btrfs', parseBtrfs(head.subarray(BTRFS_SUPERBLOCK_AT)));
const xfs: Reader = (head) => known('xfs', parseXfs(head));
const f2fs: Reader = (head) => known('f2fs', parseF2fs(head.subarray(F2FS_SUPERBLOCK_AT)));

function known(type: string, facts: FilesystemFacts | undefined): FoundFilesystem | undefined {
  return facts === undefined ? undefined : { type, ...facts, findings: [] };
}

/** @see Microsoft, "FAT: General Overview of On-Disk Format" */
const fat: Reader = (head) => {
  const [sectorBytes, clusterSectors] = [head.readUInt16LE(11), head.readUInt8(13)];
  const isFat = head.readUInt16LE(510) === 0xaa55 && (head[0] === 0xeb || head[0] === 0xe9);
  if (!isFat || ![512, 1024, 2048, 4096].includes(sectorBytes) || clusterSectors === 0 || head[16] === 0)
    return undefined;
  const is32 = head.readUInt16LE(22) === 0;
  const at = is32 ? 67 : 39;
  const id = head.readUInt32LE(at).toString(16).toUpperCase().padStart(8, '0');
  const label = head.toString('latin1', at + 4, at + 15).trimEnd();
  const sectors = head.readUInt16LE(19) || head.readUInt32LE(32);
  return {
    ...plain('vfat', `${id.slice(0, 4)}-${id.slice(4)}`, label === 'NO NAME' ? '' : label),
    sizeBytes: sectors * sectorBytes,
  };
};

const swap: Reader = (head) =>
  head.toString('latin1', 4086, 4096) === 'SWAPSPACE2'
    ? plain('swap', formatUuid(head.subarray(0x40c, 0x41c)), text(head.subarray(0x41c, 0x42c)))
    : undefined;

const luks: Reader = (head) =>
  head.toString('latin1', 0, 4) === 'LUKS' && head.readUInt16BE(4) === 0xbabe
    ? plain('crypto_LUKS', text(head.subarray(168, 208)))
    : undefined;

const lvm: Reader = (head) =>
  head.toString('latin1', 512, 520) === 'LABELONE' ? plain('LVM2_member', text(head.subarray(544, 576))) : undefined;
