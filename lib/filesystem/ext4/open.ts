import { type FileHandle, open } from 'node:fs/promises';
import {
  type Ext4Superblock,
  parseExt4Superblock,
  SUPERBLOCK_AT,
  SUPERBLOCK_BYTES,
} from '../../formats/ext4/superblock.ts';
import type { Extent } from '../../formats/extent.ts';
import { readAt } from '../../host-files/read-at.ts';
import { UnexpectedStateError } from '../../run/errors.ts';
import { Ext4Volume } from './volume.ts';

/** Opens the ext4 in a part of a raw disk image. @returns the reason, phrased to follow "the ext4", when it cannot be
 *  read. */
export function openExt4(disk: FileHandle, { offsetBytes, sizeBytes }: Extent): Promise<Ext4Volume | string> {
  return Ext4Volume.open((at, bytes) => readAt(disk, offsetBytes + at, Math.max(0, Math.min(bytes, sizeBytes - at))));
}

/** Reads the superblock of an ext4 in a raw disk image. @throws {UnexpectedStateError} when it does not exist or is
 *  damaged. */
export async function readExt4Superblock(step: string, image: string, offsetBytes: number): Promise<Ext4Superblock> {
  await using disk = await open(image, 'r');
  return requireSuperblock(step, image, await readAt(disk, offsetBytes + SUPERBLOCK_AT, SUPERBLOCK_BYTES));
}

/** Parses the superblock of an ext4. @throws {UnexpectedStateError} when it is not one, or is damaged. */
export function requireSuperblock(step: string, image: string, bytes: Buffer): Ext4Superblock {
  const superblock = parseExt4Superblock(bytes);
  if (superblock !== undefined && superblock.damage === undefined) return superblock;
  throw new UnexpectedStateError(step, `there is no ext4 in ${image}`, {
    expected: 'an ext4 filesystem',
    found: superblock?.damage === undefined ? 'no superblock' : `one that ${superblock.damage}`,
  });
}
