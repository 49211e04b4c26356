import { hasSuperblock } from '../../formats/ext4/layout.ts';
import type { BlockRun } from '../data-runs.ts';
import type { Ext4Volume } from './volume.ts';

/** Features: an incompatible one, a read-only compatible one. */
const NEEDS_RECOVERY = 0x4;
const BIGALLOC = 0x200;

/** Whether freeRuns can be trusted: the journal has nothing to replay, and each bit of a bitmap is a block. */
export function knowsFreeBlocks({ superblock, bytes }: Ext4Volume): boolean {
  return (
    !superblock.hasErrors &&
    (bytes.readUInt32LE(0x60) & NEEDS_RECOVERY) === 0 &&
    (bytes.readUInt32LE(0x64) & BIGALLOC) === 0
  );
}

/** Finds the blocks that nothing uses, in ascending order. A group whose bitmap was never written is free, except for copies of the
 *  superblock, descriptors, bitmaps and inode tables.
 *  @see https://docs.kernel.org/filesystems/ext4/overview.html#flexible-block-groups */
export async function* freeRuns(volume: Ext4Volume): AsyncGenerator<BlockRun> {
  const { blocks, blockBytes, firstDataBlock, blocksPerGroup, inodesPerGroup, inodeBytes, descriptorBytes, isSparse } =
    volume.superblock;
  const groups = Math.ceil((blocks - firstDataBlock) / blocksPerGroup);
  const tableBlocks = Math.ceil((inodesPerGroup * inodeBytes) / blockBytes);
  const copyBlocks = 1 + Math.ceil((groups * descriptorBytes) / blockBytes) + volume.bytes.readUInt16LE(0xce);
  const metadata = await metadataOf(volume, groups, tableBlocks);
  let next = 0;
  for (let group = 0; group < groups; group += 1) {
    const first = firstDataBlock + group * blocksPerGroup;
    const count = Math.min(blocksPerGroup, blocks - first);
    const descriptor = await volume.group(group);
    if (descriptor === undefined) return;
    const used = descriptor.hasNoBlockBitmap
      ? Buffer.alloc(blockBytes)
      : Buffer.from(await volume.block(descriptor.blockBitmap));
    // Nothing is known to be free where the bitmap cannot be read.
    if (used.length < blockBytes) return;
    const take = ({ start, count: length }: BlockRun): void => {
      const end = Math.min(start + length - first, count);
      for (let bit = Math.max(0, start - first); bit < end; bit += 1)
        used[bit >> 3] = (used[bit >> 3] ?? 0) | (1 << (bit & 7));
    };
    if (!isSparse || hasSuperblock(group)) take({ start: first, count: copyBlocks });
    for (; next < metadata.length; next += 1) {
      const run = metadata[next];
      if (run === undefined || run.start >= first + count) break;
      take(run);
      // It goes on in the next group.
      if (run.start + run.count > first + count) break;
    }
    yield* clearRuns(used, first, count);
  }
}

/** The bitmaps and inode tables of all groups, in ascending order: a group's may be in another group. */
async function metadataOf(volume: Ext4Volume, groups: number, tableBlocks: number): Promise<BlockRun[]> {
  const runs: BlockRun[] = [];
  for (let group = 0; group < groups; group += 1) {
    const descriptor = await volume.group(group);
    if (descriptor === undefined) break;
    const { blockBitmap, inodeBitmap, inodeTable } = descriptor;
    runs.push({ start: blockBitmap, count: 1 }, { start: inodeBitmap, count: 1 });
    runs.push({ start: inodeTable, count: tableBlocks });
  }
  return runs.sort((a, b) => a.start - b.start);
}

function* clearRuns(bitmap: Buffer, first: number, count: number): Generator<BlockRun> {
  const isSet = (bit: number): boolean => ((bitmap[bit >> 3] ?? 0xff) & (1 << (bit & 7))) !== 0;
  for (let bit = 0; bit < count; ) {
    while (bit < count && isSet(bit)) bit += 1;
    const start = bit;
    while (bit < count && !isSet(bit)) bit += 1;
    if (bit > start) yield { start: first + start, count: bit - start };
  }
}
