import type { PartitionedDisk } from '../../../../lib/steps/partition-disk.ts';
import type { BrokenImage } from '../broken-image.ts';

/** A good image. */
export interface Base {
  readonly image: string;
  readonly disk: PartitionedDisk;
  /** The store path of its system. */
  readonly toplevel: string;
}

/** Makes a base out of a copy of another one.
 *  @returns the disk, when it is another one then. */
export type Derive = (image: BrokenImage) => Promise<PartitionedDisk | undefined>;
