import { mkdir } from 'node:fs/promises';
import { join, posix } from 'node:path';
import type { PackedFilesystem } from '../../filesystem/packed-filesystem.ts';
import type { Closure, TreeAttribute, TreeOwner } from '../../filesystem/tree.ts';
import { deterministicVolumeId } from '../../formats/layouts.ts';
import { LUKS_HEADER_BYTES } from '../../formats/luks.ts';
import { gptSpace } from '../../formats/partition-table/gpt.ts';
import { shareOut } from '../../formats/partition-table/share.ts';
import { refuseInside, requireDirectory, requireReadableTree } from '../../host-files/given-paths.ts';
import { ImageTooSmallError, InvalidOptionsError } from '../../run/errors.ts';
import type { StepContext } from '../../run/step.ts';
import type { ImageSpec } from '../../spec/image-spec.ts';
import { isAtOrBelow, partitionOf } from '../../spec/layout.ts';
import { isPacked, type OwnPartition, subvolumesIn } from '../../spec/partitions-spec.ts';
import { computeDiskSize, type DiskSize, sumDiskSize } from '../../steps/compute-disk-size.ts';
import { copyToPartition } from '../../steps/copy-to-partition.ts';
import { fillBootFilesystem } from '../../steps/fill-boot-filesystem.ts';
import { type MadeFilesystem, makeFilesystem, requireSubvolumes } from '../../steps/make-filesystem.ts';
import { makeSwap } from '../../steps/make-swap.ts';
import { type PackedFile, packFilesystem } from '../../steps/pack-filesystem.ts';
import { formatBytes, MIB, roundDown, roundUp } from '../../units.ts';
import type { Job } from '../job.ts';
import { type MountedFiles, requireFatFiles } from './mounted-files.ts';
import { inodesFor } from './root.ts';

/** The user's own partitions: how large they are, and what goes into them. */

/** The filesystem with the system. */
export interface BuiltFilesystem extends Omit<MadeFilesystem, 'fsType'> {
  /** erofs and squashfs only with a root in memory. A squashfs has an empty UUID and label. */
  readonly fsType: MadeFilesystem['fsType'] | PackedFilesystem;
}

/** One of the user's partitions, with what goes into it and the size that this needs. */
export interface MeasuredPartition {
  readonly own: OwnPartition;
  /** The directory whose contents it gets; undefined for swap, and for partitions without a filesystem. */
  readonly populateFrom: string | undefined;
  readonly closure: Closure | undefined;
  /** Undefined where the content does not decide the size: for a FAT, for swap, and without a filesystem. */
  readonly size: DiskSize | undefined;
  /** The finished filesystem, if it is packed: only that decides its size. */
  readonly packed: PackedFile | undefined;
  readonly leastBytes: number;
}

/** The size of the root on a disk that has none. */
export const NO_ROOT: DiskSize = {
  ...sumDiskSize({ dataBlocks: 0, inodes: 0, largestBytes: 0, hostBytes: 0 }, 'none', 0, 0),
  ...{ shortfallBytes: 0, filesystemBytes: 0 },
};

interface Sources {
  readonly root: string;
  readonly taken: readonly MountedFiles[];
  /** The store paths of the system, for the partition that holds the store. */
  readonly closure: Closure | undefined;
  readonly work: string;
  /** Free space that the root gets beyond what was asked for. */
  readonly moreForRoot: number;
  readonly owners: readonly TreeOwner[];
  readonly timestamp: number | undefined;
}

/** Requires that the directories exist whose contents a partition gets, that it can store them, and that the image does not go
 *  into one of them.
 *  @throws {InvalidOptionsError} */
export async function requireSources(
  { partitions = [] }: ImageSpec,
  outDirectory: string,
  { executor }: StepContext,
): Promise<void> {
  for (const { number, populateFrom, filesystem, subvolumes } of partitions) {
    if (subvolumes.length > 0)
      await requireSubvolumes(executor).catch((error: unknown) => {
        throw ofPartition(number, error);
      });
    const option = `partitions[${number - 1}].populateFrom`;
    if (populateFrom === undefined) continue;
    await requireDirectory('buildImage', populateFrom, option);
    await requireReadableTree('buildImage', populateFrom, option);
    await refuseInside('buildImage', populateFrom, outDirectory, option);
    if (filesystem === 'vfat') await requireFatFiles(populateFrom, option, '/');
  }
}

/** Finds what goes into each partition, and how much that needs. */
export async function measurePartitions(
  spec: ImageSpec,
  { root, taken, closure, work, moreForRoot, owners, timestamp }: Sources,
  context: StepContext,
): Promise<MeasuredPartition[]> {
  const { partitions = [], encrypt } = spec;
  const holder = partitionOf(partitions, '/nix/store');
  const measured: MeasuredPartition[] = [];
  for (const own of partitions) {
    const { number, role, filesystem, sizeBytes } = own;
    const isRoot = role === 'root';
    const without = { size: undefined, packed: undefined, leastBytes: sizeBytes ?? 0 };
    if (filesystem === 'swap' || filesystem === 'none') {
      measured.push({ own, populateFrom: undefined, closure: undefined, ...without });
      continue;
    }
    const staged = isRoot ? root : taken.find((files) => files.number === number)?.directory;
    const populateFrom = own.populateFrom ?? staged ?? join(work, `empty-${number}`);
    if (own.populateFrom === undefined && staged === undefined) await mkdir(populateFrom);
    if (filesystem === 'vfat') {
      measured.push({ own, populateFrom, closure: undefined, ...without });
      continue;
    }
    const ofStore =
      own === holder && closure !== undefined ? { ...closure, mountPoint: storeMountPoint(own) } : undefined;
    if (isPacked(filesystem)) {
      const { filesystemLabel, filesystemUuid: uuid, compression, compressionLevel, mountPoint } = own;
      const label = filesystem === 'erofs' ? filesystemLabel : undefined;
      const packed = await packFilesystem(
        {
          ...{
            file: join(work, `filesystem-${number}`),
            fsType: filesystem,
            label,
            uuid,
            compression,
            compressionLevel,
          },
          ...{ populateFrom, closure: ofStore, timestamp },
          owners: mountPoint === undefined ? [] : ownersOn(partitions, own, owners),
        },
        context,
      ).catch((error: unknown) => {
        throw ofPartition(number, error);
      });
      const { sizeBytes: bytes } = packed;
      if (sizeBytes !== undefined && sizeBytes < bytes) throw isTooSmall(own, 'size', sizeBytes, bytes);
      if (sizeBytes === undefined && own.maxBytes !== undefined && own.maxBytes < bytes)
        throw isTooSmall(own, 'maxSize', own.maxBytes, bytes);
      const leastBytes = sizeBytes ?? bytes;
      measured.push({ own, populateFrom, closure: ofStore, size: undefined, packed, leastBytes });
      continue;
    }
    const asked = sizeBytes === undefined ? (own.additionalSpace ?? 0) : 0;
    const size = await computeDiskSize(
      {
        ...{ stagedRoot: populateFrom, closure: ofStore, partitionTableType: 'none', fsType: filesystem },
        additionalSpace: asked + (isRoot ? moreForRoot : 0),
        encrypted: isRoot && encrypt !== undefined,
      },
      context,
    ).catch((error: unknown) => {
      throw ofPartition(number, error);
    });
    const neededBytes = size.diskBytes - (isRoot ? moreForRoot : 0);
    // A given size is refused only if it is certainly too small; whether another one is, mkfs decides.
    if (sizeBytes !== undefined && sizeBytes < size.dataBlocks * 4096 + size.inodes * 256)
      throw isTooSmall(own, 'size', sizeBytes, neededBytes);
    if (sizeBytes === undefined && own.maxBytes !== undefined && own.maxBytes < neededBytes)
      throw isTooSmall(own, 'maxSize', own.maxBytes, neededBytes);
    measured.push({
      own,
      populateFrom,
      closure: ofStore,
      size,
      packed: undefined,
      leastBytes: sizeBytes ?? size.diskBytes,
    });
  }
  return measured;
}

/** The names of steps' options in a partition. */
const OF_PARTITION: Readonly<Record<string, string>> = {
  ...{ fsType: 'filesystem', compression: 'compression', subvolumes: 'subvolumes' },
};

/** Names the option of the partition, not that of the step. */
export function ofPartition(number: number, error: unknown): unknown {
  if (!(error instanceof InvalidOptionsError)) return error;
  const issues = error.issues.map(({ path, message }) =>
    path in OF_PARTITION ? { path: `partitions[${number - 1}].${OF_PARTITION[path]}`, message } : { path, message },
  );
  return new InvalidOptionsError('buildImage', issues, { cause: error, hint: error.hint });
}

function isTooSmall(
  { number }: OwnPartition,
  option: 'size' | 'maxSize',
  sizeBytes: number,
  neededBytes: number,
): InvalidOptionsError {
  const message = `is ${formatBytes(sizeBytes)}, but its content needs about ${formatBytes(neededBytes)}, ${neededBytes - sizeBytes} bytes more`;
  return new InvalidOptionsError('buildImage', [{ path: `partitions[${number - 1}].${option}`, message }]);
}

function storeMountPoint({ mountPoint }: OwnPartition): '/' | '/nix' | '/nix/store' {
  return mountPoint === '/nix' || mountPoint === '/nix/store' ? mountPoint : '/';
}

/** Refuses a given size of the disk that is too small for what was measured. @throws {InvalidOptionsError} */
export function requireDiskSize({ diskSize }: ImageSpec, { diskBytes }: DiskSize): void {
  if (diskSize === 'auto' || diskSize * MIB >= diskBytes) return;
  throw new InvalidOptionsError('buildImage', [
    {
      path: 'diskSize',
      message: `is ${formatBytes(diskSize * MIB)}, but the partitions need ${formatBytes(diskBytes)}, ${diskBytes - diskSize * MIB} bytes more`,
    },
  ]);
}

/** The size of the disk for partitions, and the root's size in it, which may have been computed anew. */
export function withDiskBytes(
  size: DiskSize,
  partitions: readonly MeasuredPartition[],
  isEncrypted: boolean,
): DiskSize {
  const paddings = partitions.map(({ own }) => roundUp(own.padding.leastBytes, own.alignmentBytes));
  const needed = [...leastSizes(size, partitions, isEncrypted), ...paddings].reduce((sum, bytes) => sum + bytes, 0);
  const { startBytes, gapBytes } = alignmentOf(partitions);
  // A MiB at the end is for the second copy of the GPT.
  const diskBytes = roundUp(startBytes + gapBytes + needed + MIB, MIB);
  return { ...size, diskBytes, reservedBytes: diskBytes - size.filesystemBytes };
}

function leastSizes(root: DiskSize, partitions: readonly MeasuredPartition[], isEncrypted: boolean): number[] {
  const ofRoot = root.filesystemBytes + (isEncrypted ? LUKS_HEADER_BYTES : 0);
  return partitions.map(({ own, leastBytes }) =>
    roundUp(own.role === 'root' && own.sizeBytes === undefined ? ofRoot : leastBytes, own.alignmentBytes),
  );
}

/** The size of each partition on a disk, and of the free space after it: what it needs, or its share by weight. */
export function sizesOnDisk(
  diskBytes: number,
  root: DiskSize,
  partitions: readonly MeasuredPartition[],
  isEncrypted: boolean,
  sectorBytes: number,
): { readonly sizeBytes: number; readonly paddingBytes: number }[] {
  const sizes = leastSizes(root, partitions, isEncrypted);
  const { startBytes, gapBytes, grain } = alignmentOf(partitions);
  const span = roundDown(gptSpace(diskBytes, sectorBytes).endBytes, grain) - startBytes - gapBytes;
  const sharers = partitions.flatMap(({ own: { weight, maxBytes, alignmentBytes: unit, padding } }, index) => [
    { leastBytes: sizes[index] ?? 0, mostBytes: maxBytes && roundUp(maxBytes, unit), weight },
    {
      ...{ leastBytes: roundUp(padding.leastBytes, unit), weight: padding.weight, isPadding: true },
      mostBytes: padding.mostBytes && roundUp(padding.mostBytes, unit),
    },
  ]);
  const shares = shareOut(sharers, span, grain);
  return partitions.map(({ own: { alignmentBytes: unit } }, index) => ({
    sizeBytes: Math.max(sizes[index] ?? 0, roundDown(shares[2 * index] ?? 0, unit)),
    paddingBytes: roundDown(shares[2 * index + 1] ?? 0, unit),
  }));
}

/** Where the first partition begins, of what all sizes are multiples, and the most that is lost between partitions because
 *  some begin at multiples of more than others do. */
function alignmentOf(partitions: readonly MeasuredPartition[]): {
  readonly startBytes: number;
  readonly grain: number;
  readonly gapBytes: number;
} {
  const units = partitions.map(({ own }) => own.alignmentBytes);
  const grain = Math.min(...units);
  const gapBytes = units.slice(1).reduce((sum, unit) => sum + unit - grain, 0);
  return { startBytes: roundUp(MIB, units[0] ?? MIB), grain, gapBytes };
}

/** Makes and fills the partitions besides the root. @returns the filesystems by the numbers of their partitions. FATs exist already, where a boot loader wrote into them. */
export async function fillPartitions(
  { partitions, disk, timestamp, attributes }: Pick<Job, 'partitions' | 'disk' | 'timestamp' | 'attributes'>,
  image: string,
  owners: readonly TreeOwner[],
  context: StepContext,
): Promise<ReadonlyMap<number, BuiltFilesystem>> {
  const all = partitions.map(({ own }) => own);
  const made = new Map<number, BuiltFilesystem>();
  for (const { own, populateFrom, closure, size, packed } of partitions) {
    const { number, role, filesystem, filesystemLabel: label, filesystemUuid: uuid, mountPoint } = own;
    const partition = disk.partitions.find((one) => one.number === number);
    if (role === 'root' || partition === undefined || filesystem === 'none') continue;
    if (packed !== undefined) {
      await copyToPartition({ image, partition, source: packed.file }, context);
      made.set(number, ofPacked(packed));
    } else if (filesystem === 'swap') await makeSwap({ image, partition, label, uuid }, context);
    else if (filesystem === 'vfat') {
      if (own.populateFrom !== undefined)
        await fillBootFilesystem({ image, partition, populateFrom: own.populateFrom, timestamp }, context);
    } else if (!isPacked(filesystem)) {
      const filled = await makeFilesystem(
        {
          ...{ image, partition, fsType: filesystem, label, uuid, populateFrom, closure, timestamp },
          hashSeed: uuid,
          subvolumes: subvolumesIn(own),
          size: size && { inodeCount: inodesFor(size, partition.sizeBytes), dataBlocks: size.dataBlocks },
          ...(mountPoint === undefined
            ? {}
            : { owners: ownersOn(all, own, owners), attributes: attributesOn(all, own, attributes) }),
        },
        context,
      ).catch((error: unknown) => {
        throw ofPartition(number, tooSmall(own, error));
      });
      made.set(number, filled);
    }
  }
  return made;
}

function ofPacked({ fsType, uuid = '', label = '', sizeBytes }: PackedFile): BuiltFilesystem {
  return { fsType, uuid, label, sizeBytes, freeBytes: 0, inodeCount: undefined, freeInodes: undefined };
}

/** Names the option of a partition that turned out to be too small. */
export function tooSmall({ number, mountPoint, sizeBytes }: OwnPartition, error: unknown): unknown {
  if (!(error instanceof ImageTooSmallError) || sizeBytes === undefined) return error;
  const { neededBytes, availableBytes } = error;
  const hint = `set a larger size in partitions[${number - 1}], or "auto"`;
  const where = mountPoint ?? `partition ${number}`;
  return new ImageTooSmallError('makeFilesystem', where, { neededBytes, availableBytes }, { cause: error, hint });
}

/** The owners of the files on a partition, with targets that begin at its root. */
export function ownersOn(
  partitions: readonly OwnPartition[],
  own: OwnPartition,
  owners: readonly TreeOwner[],
): TreeOwner[] {
  const { mountPoint = '/' } = own;
  return owners.flatMap((given) => {
    const owner = { ...given, target: posix.resolve('/', given.target) };
    // It includes everything below it, which may be on several partitions.
    if (isAtOrBelow(mountPoint, owner.target)) return [{ ...owner, target: '/' }];
    return partitionOf(partitions, owner.target) === own ? [{ ...owner, target: below(mountPoint, owner.target) }] : [];
  });
}

/** Like ownersOn, for extended attributes. */
export function attributesOn(
  partitions: readonly OwnPartition[],
  own: OwnPartition,
  attributes: readonly TreeAttribute[],
): TreeAttribute[] {
  const { mountPoint = '/' } = own;
  return attributes
    .filter(({ target }) => partitionOf(partitions, target) === own)
    .map((attribute) => ({ ...attribute, target: below(mountPoint, attribute.target) }));
}

function below(mountPoint: string, target: string): string {
  return mountPoint === '/' ? target : target.slice(mountPoint.length) || '/';
}

/** The volume ID of a FAT; undefined for a random one. */
export function volumeIdOf({ spec, partitions }: Pick<Job, 'spec' | 'partitions'>, number: number): string | undefined {
  const own = partitions.find((one) => one.own.number === number)?.own;
  if (own !== undefined) return own.filesystemUuid;
  return spec.deterministic ? deterministicVolumeId(number) : undefined;
}
