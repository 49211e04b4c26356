import { z } from 'zod';
import { btrfsBytes } from '../filesystem/btrfs.ts';
import { pauses } from '../filesystem/data-runs.ts';
import { f2fsBytes } from '../filesystem/f2fs.ts';
import { ROOT_FILESYSTEMS, type RootFilesystem, type TreeUsage } from '../filesystem/root-filesystem.ts';
import { type TreeEntry, walkTree } from '../filesystem/tree.ts';
import { requireXfsNames, xfsBytes } from '../filesystem/xfs.ts';
import { PARTITION_LAYOUTS, type PartitionTableType } from '../formats/layouts.ts';
import { LUKS_HEADER_BYTES } from '../formats/luks.ts';
import { requireDirectory } from '../host-files/given-paths.ts';
import { defineStep, type Step, type WithOldNames } from '../run/define-step.ts';
import type { StepRunner } from '../run/step.ts';
import { closureSource, iecSize, partitionTableType, path, treeEntries } from '../spec/fields.ts';
import { KIB, MIB, roundUp, SECTOR_BYTES } from '../units.ts';

const STEP = 'computeDiskSize';

const schema = z.object({
  /** The staged root directory. */
  stagedRoot: path,
  /** Store paths that are written into the filesystem as well, directly from their store. */
  closure: closureSource.optional(),
  /** Further entries, as listClosureFiles and extractFilesystem return them. */
  files: treeEntries.optional(),
  /** Default "legacy". */
  partitionTableType: partitionTableType.default('legacy'),
  /** The end of the boot partition on the disk; default "256M". */
  bootSize: iecSize.default(256 * MIB),
  /** Free space beyond what the tree needs; default "512M". */
  additionalSpace: iecSize.default(512 * MIB),
  /** The root filesystem; default "ext4". */
  fsType: z.enum(ROOT_FILESYSTEMS).default('ext4'),
  /** Whether encryptPartition will encrypt the root, for which a LUKS header is reserved; default false. */
  encrypted: z.boolean().default(false),
});

const OLD_NAMES = { root: 'stagedRoot', entries: 'files' } as const;

export type ComputeDiskSizeOptions = WithOldNames<z.input<typeof schema>, typeof OLD_NAMES>;

/** The size of the disk, `diskBytes`, and the parts of which it is the sum, rounded up to a MiB. */
export interface DiskSize extends TreeUsage {
  /** (dataBlocks + 2 × inodes) × 4096. */
  readonly usageBytes: number;
  /** 5.2 % of usageBytes, for ext4's metadata in an ordinary tree. */
  readonly fudgeBytes: number;
  readonly additionalBytes: number;
  /** Used by the layout: partition table, alignment, boot partition, LUKS header. */
  readonly reservedBytes: number;
  /** Added if the parts above leave too little room for metadata: ext4's journal and inode table, btrfs's metadata, the
   *  log of xfs. */
  readonly shortfallBytes: number;
  /** The size of the root filesystem: the sum of the parts above, except reservedBytes. */
  readonly filesystemBytes: number;
  readonly diskBytes: number;
  /** For makeFilesystem: enough inodes for the tree, and as many more as ext4 would have in the additional space. */
  readonly inodeCount: number;
}

const BLOCK_BYTES = 4096;
const INODE_BYTES = 256;
/** mke2fs.conf(5): one inode for each 16 KiB. */
const INODE_RATIO_BYTES = 16 * KIB;

/** Computes the size of the disk for a staged tree: make-disk-image's formula, plus an inode count for mkfs and a
 *  minimum size that leaves room for the filesystem's metadata.
 *  @see nixpkgs issues 292737 and 473135 (out of inodes). Runs: nothing. */
export const computeDiskSize: Step<ComputeDiskSizeOptions, DiskSize> = defineStep({
  name: STEP,
  options: schema,
  oldNames: OLD_NAMES,
  runs: [],
  where: 'host',
  async prepare({ stagedRoot }) {
    await requireDirectory(STEP, stagedRoot, 'stagedRoot');
  },
  detail: ({ stagedRoot }) => stagedRoot,
  async run(step, { stagedRoot: root, closure, files: entries, ...parsed }) {
    const { partitionTableType: type, bootSize, additionalSpace, fsType, encrypted } = parsed;
    const tree = walkTree(step, { root, closure, entries });
    const usage = await treeUsage(step, fsType === 'xfs' ? requireXfsNames(STEP, tree) : tree);
    return sumDiskSize(usage, type, bootSize, additionalSpace, fsType, encrypted);
  },
});

/** Measures a tree. Hard links are counted each time. */
export async function treeUsage(step: StepRunner, tree: Iterable<TreeEntry>): Promise<TreeUsage> {
  const pause = pauses(step);
  let dataBlocks = 0;
  let inodes = 0;
  let largestBytes = 0;
  let hostBytes = 0;
  for (const { type, sizeBytes, hostBytes: share = 0 } of tree) {
    await pause();
    inodes += 1;
    if (type === 'directory') continue;
    dataBlocks += Math.ceil(sizeBytes / BLOCK_BYTES);
    largestBytes = Math.max(largestBytes, sizeBytes);
    hostBytes += share;
  }
  return { dataBlocks, inodes, largestBytes, hostBytes: Math.floor(hostBytes) };
}

/** Computes the size of the disk from the measured tree. All sizes are in bytes. */
export function sumDiskSize(
  usage: TreeUsage,
  type: PartitionTableType,
  bootSizeBytes: number,
  additionalBytes: number,
  fsType: RootFilesystem = 'ext4',
  encrypted = false,
): DiskSize {
  const usageBytes = (usage.dataBlocks + 2 * usage.inodes) * BLOCK_BYTES;
  const fudgeBytes = Math.ceil((usageBytes * 52) / 1000);
  const reservedBytes = layoutBytes(type, bootSizeBytes) + (encrypted ? LUKS_HEADER_BYTES : 0);
  const inodeCount = roundUp(
    usage.inodes + Math.ceil((usageBytes + fudgeBytes + additionalBytes) / INODE_RATIO_BYTES) + 16,
    16,
  );
  const wantedBytes = roundUp(usageBytes + fudgeBytes + additionalBytes, MIB);
  const leastBytes =
    fsType === 'ext4'
      ? usageBytes + metadataBytes(wantedBytes, inodeCount)
      : LEAST_BYTES[fsType](usage) + additionalBytes;
  const shortfallBytes = Math.max(0, roundUp(leastBytes, MIB) - wantedBytes);
  return {
    ...usage,
    usageBytes,
    fudgeBytes,
    additionalBytes,
    reservedBytes,
    shortfallBytes,
    filesystemBytes: usageBytes + fudgeBytes + additionalBytes + shortfallBytes,
    diskBytes: roundUp(usageBytes + fudgeBytes + additionalBytes + shortfallBytes + reservedBytes, MIB),
    inodeCount,
  };
}

/** The minimum sizes of other filesystems, for which make-disk-image's formula may be too small. */
const LEAST_BYTES = { btrfs: btrfsBytes, xfs: xfsBytes, f2fs: f2fsBytes };

/** The space that the layout needs outside the root filesystem. */
function layoutBytes(type: PartitionTableType, bootSizeBytes: number): number {
  const { table, usesBootSize } = PARTITION_LAYOUTS[type];
  if (table === 'none') return 0;
  // A GPT is at both ends of the disk (34 and 33 sectors), and parted aligns the end of the last partition to a MiB.
  const tail = table === 'gpt' ? roundUp(34 * SECTOR_BYTES, MIB) : 0;
  if (usesBootSize) return roundUp(bootSizeBytes, MIB) + tail;
  return (type === 'legacy+gpt' ? 2 * MIB : MIB) + tail;
}

/** An upper bound of ext4's metadata: journal, inode table, bitmaps, superblock copies, and group descriptors with
 *  those reserved for growing. */
function metadataBytes(filesystemBytes: number, inodeCount: number): number {
  const groups = Math.ceil(filesystemBytes / (128 * MIB)) + 1;
  const inodeTable = roundUp(inodeCount * INODE_BYTES, BLOCK_BYTES) + groups * BLOCK_BYTES;
  // Descriptors take 64 bytes per group. mke2fs reserves space to grow 1024 times, at most 1024 blocks, in each copy.
  const descriptorBlocks = Math.ceil((groups * 64) / BLOCK_BYTES);
  const reservedDescriptors = Math.min(1024, descriptorBlocks * 1024);
  const superblockCopies = Math.min(groups, 2 + Math.ceil(Math.log2(groups + 1)) * 3);
  return (
    journalBytes(filesystemBytes) +
    inodeTable +
    superblockCopies * (1 + descriptorBlocks + reservedDescriptors) * BLOCK_BYTES +
    groups * 2 * BLOCK_BYTES +
    MIB
  );
}

/** The size of the journal that mke2fs makes in a filesystem of this size. @see ext2fs_default_journal_size in
 *  e2fsprogs */
function journalBytes(filesystemBytes: number): number {
  const blocks = filesystemBytes / BLOCK_BYTES;
  if (blocks < 32_768) return 1024 * BLOCK_BYTES;
  if (blocks < 256 * 1024) return 4096 * BLOCK_BYTES;
  if (blocks < 512 * 1024) return 8192 * BLOCK_BYTES;
  if (blocks < 4096 * 1024) return 16_384 * BLOCK_BYTES;
  if (blocks < 8192 * 1024) return 32_768 * BLOCK_BYTES;
  if (blocks < 16_384 * 1024) return 65_536 * BLOCK_BYTES;
  if (blocks < 32_768 * 1024) return 131_072 * BLOCK_BYTES;
  return 262_144 * BLOCK_BYTES;
}
