import { SECTOR_BYTES } from '../../units.ts';
import type { ReadBytes } from '../extent.ts';
import { type FoundPartition, foundPartition } from './partition.ts';
import { isExtended, mbrTypeName, purposeOf } from './types.ts';

export const PROTECTIVE = 0xee;
const ENTRIES_AT = 446;
const ENTRY_BYTES = 16;
/** The kernel supports at most 256 partitions on a disk; a longer chain is a loop, or an attack. */
const MOST_LOGICAL = 250;

export interface Mbr {
  readonly diskId: string;
  readonly partitions: readonly FoundPartition[];
  /** Problems of chains of logical partitions, phrased to follow "the chain of logical partitions". */
  readonly damage: readonly string[];
}

/** Whether a sector ends with the signature of boot sectors and partition tables. */
export function hasMbr(sector: Buffer): boolean {
  return sector.length >= SECTOR_BYTES && sector.readUInt16LE(510) === 0xaa55;
}

/** Encodes the first sector of a disk on which a primary partition is smaller; everything else stays as it is. */
export function encodeSmallerMbr(head: Buffer, number: number, sizeSectors: number): Buffer {
  const changed = Buffer.from(head);
  changed.writeUInt32LE(sizeSectors, ENTRIES_AT + ENTRY_BYTES * (number - 1) + 12);
  return changed;
}

interface Entry {
  readonly bootable: boolean;
  readonly type: number;
  readonly start: number;
  readonly size: number;
}

function entriesOf(sector: Buffer): Entry[] {
  return [0, 1, 2, 3].map((index) => {
    const at = ENTRIES_AT + ENTRY_BYTES * index;
    return {
      bootable: sector[at] === 0x80,
      type: sector[at + 4] ?? 0,
      start: sector.readUInt32LE(at + 8),
      size: sector.readUInt32LE(at + 12),
    };
  });
}

/** Reads the primary partitions, and the logical partitions in each extended partition. @param head the disk's first
 *  sector. */
export async function readMbr(read: ReadBytes, head: Buffer): Promise<Mbr | undefined> {
  if (!hasMbr(head)) return undefined;
  const entries = entriesOf(head);
  // A filesystem without a table may have the same signature; a table's entries begin with 00 or 80.
  const isTable = entries.every((_, index) => [0, 0x80].includes(head[ENTRIES_AT + ENTRY_BYTES * index] ?? -1));
  if (!isTable || entries.every(({ type }) => type === 0)) return undefined;
  const diskId = head.readUInt32LE(440).toString(16).padStart(8, '0');
  const partition = (number: number, { bootable, type, start, size }: Entry): FoundPartition => {
    const typeName = mbrTypeName(type);
    return foundPartition(number, start, size, SECTOR_BYTES, {
      ...{ type: type.toString(16).padStart(2, '0'), typeName, purpose: purposeOf(typeName), name: '' },
      partitionUuid: `${diskId}-${number.toString(16).padStart(2, '0')}`,
      attributes: bootable ? ['bootable'] : [],
    });
  };
  const partitions: FoundPartition[] = [];
  const damage: string[] = [];
  for (const [index, entry] of entries.entries()) if (entry.type !== 0) partitions.push(partition(index + 1, entry));
  let number = 5;
  for (const extended of entries.filter(({ type }) => isExtended(type))) {
    const { logical, wrong } = await readLogical(read, extended, MOST_LOGICAL - (number - 5));
    for (const entry of logical) {
      partitions.push(partition(number, entry));
      number += 1;
    }
    if (wrong !== undefined) damage.push(wrong);
  }
  return { diskId, partitions, damage };
}

/** Follows the chain of extended boot records, like the kernel: each has a partition and the position of the next
 *  record, relative to the start of the extended partition. @see sfdisk(8); block/partitions/msdos.c in Linux */
async function readLogical(
  read: ReadBytes,
  extended: Entry,
  most: number,
): Promise<{ readonly logical: readonly Entry[]; readonly wrong: string | undefined }> {
  const logical: Entry[] = [];
  const seen = new Set<number>();
  for (let at = extended.start; ; ) {
    if (seen.has(at)) return { logical, wrong: `loops back to sector ${at}` };
    if (logical.length >= most) return { logical, wrong: `has more than ${MOST_LOGICAL} partitions` };
    seen.add(at);
    const record = await read(at * SECTOR_BYTES, SECTOR_BYTES);
    if (!hasMbr(record)) return { logical, wrong: `ends in sector ${at}, which does not end with 55 AA` };
    const entries = entriesOf(record);
    for (const entry of entries)
      if (entry.type !== 0 && entry.size > 0 && !isExtended(entry.type))
        logical.push({ ...entry, start: at + entry.start });
    const next = entries.find(({ type, size }) => isExtended(type) && size > 0);
    if (next === undefined) return { logical, wrong: undefined };
    if (next.start >= extended.size)
      return { logical, wrong: `continues in sector ${extended.start + next.start}, outside the extended partition` };
    at = extended.start + next.start;
  }
}
