import type { FileHandle } from 'node:fs/promises';
import { open } from 'node:fs/promises';
import { crc32c } from '../formats/crc32c.ts';
import { formatUuid } from '../formats/guid.ts';
import { readAt } from '../host-files/read-at.ts';
import { writeAt } from '../host-files/write-at.ts';
import { UnexpectedStateError } from '../run/errors.ts';

/** Filesystems that are written once, exactly as large as their files need, and only read afterwards. */

export const PACKED_FILESYSTEMS = ['erofs', 'squashfs'] as const;
export type PackedFilesystem = (typeof PACKED_FILESYSTEMS)[number];

/** The programs that make each type. They read a directory, in which runOnMergedTree puts the tree together. */
const MERGES_TREE = ['find', 'cp', 'unshare', 'fakeroot'];
export const PACKERS: Readonly<Record<PackedFilesystem, readonly string[]>> = {
  erofs: ['mkfs.erofs', ...MERGES_TREE],
  squashfs: ['mksquashfs', ...MERGES_TREE],
};

/** Compressions that Linux reads, and the levels that each one has. mkfs.erofs has lz4 and lz4hc since 1.0, lzma since 1.6,
 *  deflate since 1.7, and zstd since 1.8, each if it was built with it. @see mkfs.erofs(1), mksquashfs(1) */
const COMPRESSIONS: Readonly<Record<PackedFilesystem, Readonly<Record<string, Levels | undefined>>>> = {
  erofs: {
    ...{ none: undefined, lz4: undefined, lz4hc: { least: 0, most: 12 } },
    ...{ lzma: { least: 0, most: 9 }, deflate: { least: 0, most: 9 }, zstd: { least: 0, most: 22 } },
  },
  squashfs: {
    ...{ none: undefined, gzip: { least: 1, most: 9 }, lz4: undefined, lzo: { least: 1, most: 9 } },
    ...{ xz: undefined, zstd: { least: 1, most: 22 } },
  },
};

interface Levels {
  readonly least: number;
  readonly most: number;
}

export const DEFAULT_COMPRESSION: Readonly<Record<PackedFilesystem, string>> = { erofs: 'lz4hc', squashfs: 'zstd' };

/** The maximum length of a label, in bytes. A squashfs has neither a label nor a UUID. */
export const PACKED_LABEL_BYTES: Readonly<Record<PackedFilesystem, number>> = { erofs: 16, squashfs: 0 };

/** Whether a filesystem has a compression, and this level of it; the message if it does not. */
export function problemWithCompression(
  fsType: PackedFilesystem,
  compression: string,
  level: number | undefined,
): { readonly option: 'compression' | 'compressionLevel'; readonly message: string } | undefined {
  const known = COMPRESSIONS[fsType];
  if (!Object.hasOwn(known, compression))
    return {
      option: 'compression',
      message: `"${compression}" is not a compression of ${fsType}; it has ${Object.keys(known).join(', ')}`,
    };
  const levels = known[compression];
  if (level === undefined || (levels !== undefined && level >= levels.least && level <= levels.most)) return undefined;
  const range = levels === undefined ? 'no levels' : `levels from ${levels.least} to ${levels.most}`;
  return { option: 'compressionLevel', message: `is ${level}, but ${compression} of ${fsType} has ${range}` };
}

export interface NewPackedFilesystem {
  readonly fsType: PackedFilesystem;
  readonly compression: string;
  /** Undefined for the compression's default. */
  readonly compressionLevel: number | undefined;
  readonly uuid: string | undefined;
  /** Seconds since 1970 for all times; undefined for the files' modification times. */
  readonly timestamp: number | undefined;
}

/** The arguments that make a filesystem of the files in a directory. Extended attributes of this host's files, such as SELinux labels,
 *  are not copied. */
export function packArgs(options: NewPackedFilesystem, root: string, file: string): string[] {
  const { fsType, compression, compressionLevel: level, uuid, timestamp } = options;
  if (fsType === 'erofs')
    return [
      ...['mkfs.erofs', '--quiet', '-x-1'],
      ...(compression === 'none' ? [] : [`-z${compression}${level === undefined ? '' : `,${level}`}`]),
      ...(uuid === undefined ? [] : [`-U${uuid}`]),
      timestamp === undefined ? '--preserve-mtime' : `-T${timestamp}`,
      ...[file, root],
    ];
  return [
    ...['mksquashfs', root, file, '-noappend', '-no-progress', '-quiet', '-no-xattrs', '-no-recovery'],
    // Otherwise, a file that cannot be read is written as an empty one.
    '-exit-on-error',
    ...(compression === 'none' ? ['-noI', '-noD', '-noF', '-noX'] : ['-comp', compression]),
    ...(level === undefined ? [] : ['-Xcompression-level', `${level}`]),
    ...(timestamp === undefined ? [] : ['-mkfs-time', `${timestamp}`, '-all-time', `${timestamp}`]),
  ];
}

/** What the superblock of a packed filesystem contains. */
export interface PackedFacts {
  /** Lower case; undefined for a squashfs. */
  readonly uuid: string | undefined;
  readonly label: string | undefined;
}

/** Offsets in an erofs's superblock, which is at 1 KiB. @see struct erofs_super_block in Linux fs/erofs/erofs_fs.h */
const EROFS = {
  at: 1024,
  bytes: 128,
  magic: 0xe0f5_e1e2,
  checksum: 4,
  compatible: 8,
  blockBits: 12,
  uuid: 48,
  label: 64,
  labelBytes: 16,
};
const HAS_CHECKSUM = 1;

/** Offsets in a squashfs's superblock, which is at its start. @see Linux fs/squashfs/squashfs_fs.h */
const SQUASHFS = { magic: 0x7371_7368, bytes: 96 };

/** What a squashfs can store of a time, which is in seconds since 1970. */
export const SQUASHFS_TIMES = { least: 0, most: 0xffff_ffff };

/** Reads the superblock of a new filesystem. @throws {UnexpectedStateError} when it is not of that type. */
export async function readPacked(step: string, fsType: PackedFilesystem, file: string): Promise<PackedFacts> {
  await using handle = await open(file, 'r');
  const head = await readAt(handle, 0, EROFS.at + EROFS.bytes);
  const facts = fsType === 'erofs' ? parseErofs(head) : parseSquashfs(head);
  if (facts === undefined) throw new UnexpectedStateError(step, `there is no ${fsType} in ${file}`);
  return facts;
}

/** @param head the first bytes of the filesystem. */
function parseErofs(head: Buffer): PackedFacts | undefined {
  if (head.length < EROFS.at + EROFS.bytes || head.readUInt32LE(EROFS.at) !== EROFS.magic) return undefined;
  const superblock = head.subarray(EROFS.at);
  const label = superblock.toString('latin1', EROFS.label, EROFS.label + EROFS.labelBytes).replace(/\0.*$/s, '');
  return { uuid: formatUuid(superblock.subarray(EROFS.uuid, EROFS.uuid + 16)), label };
}

function parseSquashfs(head: Buffer): PackedFacts | undefined {
  if (head.length < SQUASHFS.bytes || head.readUInt32LE(0) !== SQUASHFS.magic) return undefined;
  return { uuid: undefined, label: undefined };
}

/** Sets the label of an erofs, which mkfs.erofs takes only since 1.8. */
export async function setErofsLabel(file: string, label: string): Promise<void> {
  await using handle = await open(file, 'r+');
  const head = await readAt(handle, EROFS.at, EROFS.bytes);
  head.fill(0, EROFS.label, EROFS.label + EROFS.labelBytes);
  head.write(label, EROFS.label, 'latin1');
  await writeAt(handle, EROFS.at, head);
  if ((head.readUInt32LE(EROFS.compatible) & HAS_CHECKSUM) !== 0)
    await sealErofs(handle, head.readUInt8(EROFS.blockBits));
}

/** Writes the checksum of an erofs's superblock, which is over the rest of its block. */
async function sealErofs(handle: FileHandle, blockBits: number): Promise<void> {
  const block = await readAt(handle, EROFS.at, 2 ** blockBits - EROFS.at);
  block.writeUInt32LE(0, EROFS.checksum);
  block.writeUInt32LE(crc32c(0xffff_ffff, block), EROFS.checksum);
  await writeAt(handle, EROFS.at, block);
}
