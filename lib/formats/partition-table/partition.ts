import { boundedBytes } from '../bounded.ts';
import type { Extent } from '../extent.ts';

/** A partition as the table has it. */
export interface FoundPartition extends Extent {
  readonly number: number;
  /** In sectors of the table's `sectorBytes`. */
  readonly startSectors: number;
  readonly sizeSectors: number;
  /** GPT: a GUID in lower case; msdos: two hexadecimal digits. */
  readonly type: string;
  /** What the type is called: `root-x86-64`, `esp`, `fat32-lba`; undefined for one that is not known here. */
  readonly typeName: string | undefined;
  /** What the type is for, where it is known here. */
  readonly purpose: PartitionPurpose | undefined;
  readonly name: string;
  /** The kernel's PARTUUID, lower case. */
  readonly partitionUuid: string;
  /** GPT: the numbers of the attribute bits that are set; msdos: `bootable`. */
  readonly attributes: readonly string[];
}

export type PartitionPurpose = 'esp' | 'xbootldr' | 'bios-grub' | 'linux' | 'swap' | 'lvm' | 'extended';

/** @param start and size as the table has them, in sectors. */
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
