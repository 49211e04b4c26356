import { boundedBytes } from '../bounded.ts';
import type { Extent } from '../extent.ts';

/** A partition as recorded in the partition table. */
export interface FoundPartition extends Extent {
  readonly number: number;
  /** In sectors of the table's `sectorBytes`. */
  readonly startSectors: number;
  readonly sizeSectors: number;
  /** GPT: a GUID in lower case; msdos: two hexadecimal digits. */
  readonly type: string;
  /** The name of the type: `root-x86-64`, `esp`, `fat32-lba`; undefined for an unknown type. */
  readonly typeName: string | undefined;
  /** The purpose of the type; undefined for other types. */
  readonly purpose: PartitionPurpose | undefined;
  readonly name: string;
  /** The kernel's PARTUUID, lower case. */
  readonly partitionUuid: string;
  /** GPT: the numbers of the attribute bits that are set; msdos: `bootable`. */
  readonly attributes: readonly string[];
}

export type PartitionPurpose = 'esp' | 'xbootldr' | 'bios-grub' | 'linux' | 'swap' | 'lvm' | 'extended';

/** Makes a FoundPartition from a table entry. @param start and size are in sectors. */
export function foundPartition(
  number: number,
  start: bigint | number,
  size: bigint | number,
  sectorBytes: number,
  more: Omit<FoundPartition, 'number' | 'startSectors' | 'sizeSectors' | keyof Extent>,
): FoundPartition {
  return {
    number,
    startSectors: boundedBytes(start, 1),
    sizeSectors: boundedBytes(size, 1),
    offsetBytes: boundedBytes(start, sectorBytes),
    sizeBytes: boundedBytes(size, sectorBytes),
    ...more,
  };
}
