import type { PartitionedDisk } from '../../../../lib/steps/partition-disk.ts';
import type { BrokenImage } from '../broken-image.ts';

/** A good image. */
export interface Base {
  readonly image: string;
  readonly disk: PartitionedDisk;
  /** The store path of its system. */
  readonly toplevel: string;
}

/** Turns a copy of another base into this one.
 *  @returns the disk, if it has changed. */
export type Derive = (image: BrokenImage) => Promise<PartitionedDisk | undefined>;
