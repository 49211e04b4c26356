import { type FileHandle, open } from 'node:fs/promises';
import {
  type Ext4Superblock,
  parseExt4Superblock,
  SUPERBLOCK_AT,
  SUPERBLOCK_BYTES,
} from '../../formats/ext4/superblock.ts';
import type { Extent } from '../../formats/extent.ts';
import { UnexpectedStateError } from '../../run/errors.ts';
import { Ext4Volume } from './volume.ts';

/** Opens the ext4 at a part of a raw disk image. @returns why it cannot be read, when it cannot. */
export function openExt4(disk: FileHandle, { offsetBytes, sizeBytes }: Extent): Promise<Ext4Volume | string> {
  return Ext4Volume.open(async (at, bytes) => {
    const wanted = Math.max(0, Math.min(bytes, sizeBytes - at));
    const buffer = Buffer.allocUnsafe(wanted);
    const { bytesRead } = await disk.read(buffer, 0, wanted, offsetBytes + at);
    return buffer.subarray(0, bytesRead);
  });
}

/** Reads back the superblock of an ext4 in a raw disk image. @throws {UnexpectedStateError} when there is none, or a damaged one. */
export async function readExt4Superblock(step: string, image: string, offsetBytes: number): Promise<Ext4Superblock> {
  await using disk = await open(image, 'r');
  const bytes = Buffer.alloc(SUPERBLOCK_BYTES);
  await disk.read(bytes, 0, bytes.length, offsetBytes + SUPERBLOCK_AT);
  return requireSuperblock(step, image, bytes);
}

/** @throws {UnexpectedStateError} for what is no superblock of an ext4, or a damaged one. */
export function requireSuperblock(step: string, image: string, bytes: Buffer): Ext4Superblock {
  const superblock = parseExt4Superblock(bytes);
  if (superblock !== undefined && superblock.damage === undefined) return superblock;
  throw new UnexpectedStateError(step, `there is no ext4 in ${image}`, {
    expected: 'an ext4 filesystem',
    found: superblock?.damage === undefined ? 'no superblock' : `one that ${superblock.damage}`,
  });
}
