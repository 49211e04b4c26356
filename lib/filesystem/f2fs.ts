import { open } from 'node:fs/promises';
import { boundedBytes } from '../formats/bounded.ts';
import { formatUuid } from '../formats/guid.ts';
import { UnexpectedStateError } from '../run/errors.ts';
import type { RunResult } from '../run/executor.ts';
import type { StepRunner } from '../run/step.ts';
import { runOnMergedTree } from './merged-tree.ts';
import type { FilesystemFacts, NewFilesystem, TreeUsage } from './root-filesystem.ts';
import type { TreeSource } from './tree.ts';

/** Arguments of mkfs.f2fs. @see mkfs.f2fs(8) */
function f2fsArgs({ label, uuid }: NewFilesystem, file: string): string[] {
  return ['mkfs.f2fs', '-q', '-f', '-R', '0:0', '-l', label, ...(uuid === undefined ? [] : ['-U', uuid]), file];
}

/** Makes an f2fs in a sparse file, and fills it. Runs: mkfs.f2fs, sload.f2fs. */
export async function makeF2fs(
  step: StepRunner,
  options: NewFilesystem,
  source: TreeSource | undefined,
  file: string,
): Promise<RunResult> {
  const made = await step.tryRun(f2fsArgs(options, file), { answers: 'any' });
  if (made.exitCode !== 0 || source === undefined) return made;
  return runOnMergedTree(step, source, file, (root) => ['sload.f2fs', '-P', '-f', root, file]);
}

/** The size that an f2fs needs for a tree, in bytes: a block for each inode, space for garbage collection, and its
 *  metadata areas. */
export function f2fsBytes({ dataBlocks, inodes }: TreeUsage): number {
  return Math.ceil((dataBlocks + 2 * inodes) * 4096 * 1.15) + 256 * 1024 * 1024;
}

/** Offsets in the superblock, which is at 1 KiB. @see f2fs in the kernel's documentation, struct f2fs_super_block */
export const SUPERBLOCK_AT = 0x400;
const AT = { magic: 0, blockCount: 0x24, uuid: 0x6c, label: 0x7c };
const MAGIC = 0xf2f5_2010;

export async function readF2fs(step: string, image: string, offsetBytes: number): Promise<FilesystemFacts> {
  await using handle = await open(image, 'r');
  const { buffer } = await handle.read(Buffer.alloc(4096), 0, 4096, offsetBytes + SUPERBLOCK_AT);
  const facts = parseF2fs(buffer);
  if (facts === undefined) throw new UnexpectedStateError(step, `there is no f2fs at byte ${offsetBytes} of ${image}`);
  return facts;
}

/** Parses a superblock. @param buffer starts at SUPERBLOCK_AT. @returns undefined when it is not an f2fs. */
export function parseF2fs(buffer: Buffer): FilesystemFacts | undefined {
  if (buffer.length < 4096 - SUPERBLOCK_AT || buffer.readUInt32LE(AT.magic) !== MAGIC) return undefined;
  return {
    uuid: formatUuid(buffer.subarray(AT.uuid, AT.uuid + 16)),
    label: buffer.toString('utf16le', AT.label, AT.label + 1024).replace(/\0.*$/s, ''),
    sizeBytes: boundedBytes(buffer.readBigUInt64LE(AT.blockCount), 4096),
    freeBytes: undefined,
  };
}
