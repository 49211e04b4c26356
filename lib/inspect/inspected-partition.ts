import type { FoundPartition } from '../formats/partition-table/partition.ts';
import type { FoundEncryption } from './encryption.ts';
import type { FoundFilesystem } from './filesystems.ts';

/** A partition with its filesystem. */
export interface InspectedPartition extends FoundPartition {
  readonly filesystem: FoundFilesystem | undefined;
  /** The LUKS2 header, if the partition is encrypted. */
  readonly encryption: FoundEncryption | undefined;
}
