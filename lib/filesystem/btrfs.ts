import { open } from 'node:fs/promises';
import { boundedBy, boundedBytes } from '../formats/bounded.ts';
import { crc32c, WRONG_CHECKSUM } from '../formats/crc32c.ts';
import { formatUuid } from '../formats/guid.ts';
import { UnexpectedStateError } from '../run/errors.ts';
import type { RunResult } from '../run/executor.ts';
import type { StepRunner } from '../run/step.ts';
import { setBtrfsOwners } from './btrfs-owners.ts';
import { runOnMergedTree } from './merged-tree.ts';
import type { FilesystemFacts, NewFilesystem, TreeUsage } from './root-filesystem.ts';
import { inSubvolumes, type Subvolume } from './subvolumes.ts';
import type { TreeEntry, TreeSource } from './tree.ts';

interface NewBtrfs extends NewFilesystem {
  readonly subvolumes?: readonly Subvolume[] | undefined;
}

/** Arguments of mkfs.btrfs. Metadata is stored once, not twice as by default, because filling from a directory needs 16
 *  KiB of metadata for each file. `btrfs balance start -mconvert=dup /` adds the second copy in the machine. @see
 *  mkfs.btrfs(8) */
function btrfsArgs({ label, uuid, subvolumes = [] }: NewBtrfs, root: string | undefined, file: string): string[] {
  return [
    ...['mkfs.btrfs', '--quiet', '--force', '--metadata', 'single', '--label', label],
    ...(uuid === undefined ? [] : ['--uuid', uuid]),
    ...(root === undefined ? [] : ['--rootdir', root]),
    // The type first: a path may have a colon.
    ...subvolumes.flatMap(({ path }) => ['--subvol', `rw:${path}`]),
    file,
  ];
}

/** Makes a btrfs in a sparse file, fills it, sets the owners, and checks it, because mkfs.btrfs exits with status 0
 *  even if it counted hard links wrong. Runs: mkfs.btrfs, btrfs. */
export async function makeBtrfs(
  step: StepRunner,
  options: NewBtrfs,
  tree: readonly TreeEntry[] | undefined,
  source: TreeSource | undefined,
  file: string,
): Promise<RunResult> {
  if (source === undefined) return step.tryRun(btrfsArgs(options, undefined, file), { answers: 'any' });
  const { subvolumes = [] } = options;
  const made = await runOnMergedTree(step, source, file, (root) => btrfsArgs(options, root, file), subvolumes);
  if (made.exitCode !== 0) return made;
  await setBtrfsOwners(step.step, file, subvolumes.length === 0 ? (tree ?? []) : inSubvolumes(tree ?? [], subvolumes));
  // mkfs.btrfs identifies files by the host's inode numbers alone, which two filesystems may share.
  return step.run(['btrfs', 'check', '--force', file], {
    what: 'mkfs.btrfs made an inconsistent filesystem',
    hint: 'put the output directory on the same filesystem as the Nix store',
  });
}

/** The size that mkfs.btrfs needs for a tree, in bytes. It silently enlarges a smaller file. */
export function btrfsBytes({ dataBlocks, inodes }: TreeUsage): number {
  return Math.ceil((dataBlocks * 4096 * 9) / 8) + inodes * 16_384 + 56 * 1024 * 1024;
}

/** Offsets in the superblock, which is at 64 KiB. @see btrfs(5), "On-disk format" */
export const SUPERBLOCK_AT = 0x1_0000;
const AT = {
  uuid: 0x20,
  magic: 0x40,
  totalBytes: 0x70,
  bytesUsed: 0x78,
  checksum: 0xc4,
  deviceBytes: 0xd1,
  label: 0x12b,
};
/** The checksum type that mkfs.btrfs chooses by default. */
const CRC32C = 0;

export async function readBtrfs(step: string, image: string, offsetBytes: number): Promise<FilesystemFacts> {
  await using handle = await open(image, 'r');
  const { buffer } = await handle.read(Buffer.alloc(4096), 0, 4096, offsetBytes + SUPERBLOCK_AT);
  const facts = parseBtrfs(buffer);
  if (facts === undefined) throw new UnexpectedStateError(step, `there is no btrfs at byte ${offsetBytes} of ${image}`);
  return facts;
}

/** Parses a superblock. @param buffer starts at SUPERBLOCK_AT. @returns undefined when it is not a btrfs. */
export function parseBtrfs(buffer: Buffer): FilesystemFacts | undefined {
  if (buffer.length < 4096 || buffer.toString('latin1', AT.magic, AT.magic + 8) !== '_BHRfS_M') return undefined;
  const sizeBytes = boundedBytes(buffer.readBigUInt64LE(AT.totalBytes), 1);
  return {
    uuid: formatUuid(buffer.subarray(AT.uuid, AT.uuid + 16)),
    label: buffer.toString('latin1', AT.label, AT.label + 256).replace(/\0.*$/s, ''),
    sizeBytes,
    freeBytes: boundedBy(sizeBytes - boundedBytes(buffer.readBigUInt64LE(AT.bytesUsed), 1), sizeBytes),
    deviceBytes: boundedBytes(buffer.readBigUInt64LE(AT.deviceBytes), 1),
    damage:
      buffer.readUInt16LE(AT.checksum) === CRC32C &&
      ~crc32c(~0, buffer.subarray(0x20, 4096)) >>> 0 !== buffer.readUInt32LE(0)
        ? WRONG_CHECKSUM
        : undefined,
  };
}
