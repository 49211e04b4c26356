import { posix } from 'node:path';
import {
  type LayoutPartition,
  PARTITION_LAYOUTS,
  type PartitionLayout,
  type PartitionTableType,
} from '../formats/layouts.ts';
import type { OwnPartition } from './partitions-spec.ts';

/** The layout of an image: one of make-disk-image's, or the user's own partitions. */
export interface Layout extends Omit<PartitionLayout, 'partitions'> {
  readonly partitions: readonly LayoutPartition[];
  /** The option that chooses it, as messages name it. */
  readonly named: string;
}

export interface LayoutOptions {
  readonly partitionTableType: PartitionTableType;
  readonly partitions?: readonly OwnPartition[] | undefined;
}

export function layoutOf({ partitionTableType: type, partitions }: LayoutOptions): Layout {
  if (partitions === undefined) return { ...PARTITION_LAYOUTS[type], named: `partitionTableType "${type}"` };
  const has = (role: string): boolean => partitions.some((one) => one.role === role);
  return {
    table: 'gpt',
    partitions,
    bios: has('bios-grub'),
    efi: has('esp'),
    usesBootSize: false,
    named: 'partitions',
  };
}

/** The partition that holds a path, which is the one with the longest mount point above it; undefined where none is
 *  mounted. */
export function partitionOf<T extends Pick<LayoutPartition, 'mountPoint'>>(
  partitions: readonly T[],
  path: string,
): T | undefined {
  const normalized = posix.resolve('/', path);
  const above = partitions.filter(({ mountPoint }) => mountPoint !== undefined && isAtOrBelow(normalized, mountPoint));
  return above.sort((a, b) => (b.mountPoint?.length ?? 0) - (a.mountPoint?.length ?? 0))[0];
}

/** The partition with the system: the root, or with a root in memory the one that holds the store. */
export function systemPartition<T extends Pick<LayoutPartition, 'mountPoint' | 'role'>>(
  partitions: readonly T[],
): T | undefined {
  return partitions.find(({ role }) => role === 'root') ?? partitionOf(partitions, '/nix/store');
}

/** Whether a path is a mount point or below it. Both are absolute and normalized. */
export function isAtOrBelow(path: string, mountPoint: string): boolean {
  return mountPoint === '/' || path === mountPoint || path.startsWith(`${mountPoint}/`);
}
