import type { Closure, TreeAttribute } from '../filesystem/tree.ts';
import type { Extent } from '../formats/extent.ts';
import type { ImageSpec } from '../spec/image-spec.ts';
import type { DiskSize } from '../steps/compute-disk-size.ts';
import type { InstalledSystem } from '../steps/install-system.ts';
import type { DiskPartition, PartitionedDisk } from '../steps/partition-disk.ts';
import type { MeasuredPartition } from './phases/partitions.ts';
import type { BuildPlan } from './plan.ts';

/** The data that the phases of one build share. */
export interface Job {
  readonly spec: ImageSpec;
  readonly plan: BuildPlan;
  /** The staged root directory, and the raw disk. */
  readonly root: string;
  readonly raw: string;
  /** The root filesystem's UUID, chosen early because boot loaders refer to it before the filesystem is made. */
  readonly rootUuid: string;
  /** The time of all files in a reproducible image; undefined otherwise. */
  readonly timestamp: number | undefined;
  readonly system: InstalledSystem;
  readonly disk: PartitionedDisk;
  /** Where the root filesystem is: in the root partition, or after the LUKS header in it. */
  readonly rootPlace: Extent & Pick<DiskPartition, 'sectorBytes'>;
  readonly size: DiskSize;
  /** What the root filesystem gets from a store; undefined where that is on another partition. */
  readonly closure: Closure | undefined;
  readonly attributes: readonly TreeAttribute[];
  /** The user's partitions; empty for one of make-disk-image's layouts. */
  readonly partitions: readonly MeasuredPartition[];
}
