import { crc32 } from 'node:zlib';
import { MIB } from '../../units.ts';
import { boundedBytes } from '../bounded.ts';
import type { ReadBytes } from '../extent.ts';
import { efiGuidBytes, formatEfiGuid } from '../guid.ts';
import { PROTECTIVE } from './mbr.ts';
import { type FoundPartition, foundPartition } from './partition.ts';
import { gptTypeName, purposeOf } from './types.ts';

export interface Gpt {
  readonly diskId: string;
  /** The sector of the other copy. */
  readonly alternate: number;
  readonly usable: { readonly first: number; readonly last: number };
  readonly partitions: readonly FoundPartition[];
}

/** Reads the GPT whose header is in a sector. @returns a string that describes the problem when it is invalid.
 *  @see UEFI specification 5.3.2, 5.3.3 */
export async function readGpt(read: ReadBytes, sector: number, sectorBytes: number): Promise<Gpt | string> {
  const header = sector < 1 ? Buffer.alloc(0) : await read(sector * sectorBytes, sectorBytes);
  if (header.length < sectorBytes || header.toString('latin1', 0, 8) !== 'EFI PART') return 'has no signature';
  const headerBytes = header.readUInt32LE(12);
  if (headerBytes < 92 || headerBytes > sectorBytes) return `claims a header of ${headerBytes} bytes`;
  const summed = Buffer.from(header.subarray(0, headerBytes));
  summed.writeUInt32LE(0, 16);
  if (crc32(summed) !== header.readUInt32LE(16)) return 'has a header whose checksum is wrong';
  if (header.readBigUInt64LE(24) !== BigInt(sector)) return 'claims to be in another sector';
  const [count, size] = [header.readUInt32LE(80), header.readUInt32LE(84)];
  if (size < 128 || count * size > 1024 * 1024) return `claims ${count} entries of ${size} bytes`;
  const entries = await read(boundedBytes(header.readBigUInt64LE(72), sectorBytes), count * size);
  if (crc32(entries) !== header.readUInt32LE(88)) return 'has entries whose checksum is wrong';
  const partitions: FoundPartition[] = [];
  for (let index = 0; (index + 1) * size <= entries.length; index += 1) {
    const entry = entries.subarray(index * size, (index + 1) * size);
    if (entry.subarray(0, 16).every((byte) => byte === 0)) continue;
    const type = formatEfiGuid(entry.subarray(0, 16));
    const typeName = gptTypeName(type);
    const [first, last] = [entry.readBigUInt64LE(32), entry.readBigUInt64LE(40)];
    const attributes = entry.readBigUInt64LE(48);
    partitions.push(
      foundPartition(index + 1, first, last - first + 1n, sectorBytes, {
        ...{ type, typeName, purpose: purposeOf(typeName) },
        name: entry.toString('utf16le', 56, 128).replace(/\0.*$/s, ''),
        partitionUuid: formatEfiGuid(entry.subarray(16, 32)),
        attributes: Array.from({ length: 64 }, (_, bit) => bit)
          .filter((bit) => (attributes >> BigInt(bit)) & 1n)
          .map(String),
      }),
    );
  }
  return {
    diskId: formatEfiGuid(header.subarray(56, 72)),
    alternate: boundedBytes(header.readBigUInt64LE(32), 1),
    usable: { first: boundedBytes(header.readBigUInt64LE(40), 1), last: boundedBytes(header.readBigUInt64LE(48), 1) },
    partitions,
  };
}

/** The part of a disk that partitions may take, between both copies of a GPT. */
export function gptSpace(
  diskBytes: number,
  sectorBytes: number,
): { readonly startBytes: number; readonly endBytes: number } {
  const sectors = Math.floor(diskBytes / sectorBytes);
  return { startBytes: MIB, endBytes: (sectors - 1 - (GPT_ENTRIES * ENTRY_BYTES) / sectorBytes) * sectorBytes };
}

/** A partition to write. Sectors are those of the table; the last one belongs to the partition. */
export interface NewPartition {
  readonly number: number;
  readonly type: string;
  readonly guid: string;
  readonly name: string;
  readonly firstSector: number;
  readonly lastSector: number;
  /** The numbers of the attribute bits to set. @see UEFI specification, table 5.8 */
  readonly attributes?: readonly number[];
}

/** Bytes with their place on the disk. */
export interface PlacedBytes {
  readonly offsetBytes: number;
  readonly bytes: Buffer;
}

/** The number of partitions for which an encoded GPT has room. */
export const GPT_ENTRIES = 128;
const ENTRY_BYTES = 128;
const HEADER_BYTES = 92;

/** Encodes a GPT, both copies, with the protective MBR.
 *  @see UEFI specification 5.2.3 (protective MBR), 5.3.3 (entries) */
export function encodeGpt(
  diskBytes: number,
  sectorBytes: number,
  diskId: string,
  partitions: readonly NewPartition[],
): PlacedBytes[] {
  const entries = Buffer.alloc(GPT_ENTRIES * ENTRY_BYTES);
  for (const { number, type, guid, name, firstSector, lastSector, attributes = [] } of partitions) {
    const entry = entries.subarray((number - 1) * ENTRY_BYTES, number * ENTRY_BYTES);
    efiGuidBytes(type).copy(entry, 0);
    efiGuidBytes(guid).copy(entry, 16);
    entry.writeBigUInt64LE(BigInt(firstSector), 32);
    entry.writeBigUInt64LE(BigInt(lastSector), 40);
    entry.writeBigUInt64LE(
      attributes.reduce((bits, bit) => bits | (1n << BigInt(bit)), 0n),
      48,
    );
    entry.write(name, 56, 72, 'utf16le');
  }
  const sector = Buffer.alloc(sectorBytes);
  // From sector 1 to the end, with the CHS addresses that the specification names.
  sector.set([0x00, 0x00, 0x02, 0x00, PROTECTIVE, 0xff, 0xff, 0xff], 446);
  sector.writeUInt32LE(1, 454);
  sector.writeUInt32LE(sectorsForMbr(diskBytes, sectorBytes), 458);
  sector.writeUInt16LE(0xaa55, 510);
  const firstUsable = 2 + entries.length / sectorBytes;
  const table = { diskId, entries, entryBytes: ENTRY_BYTES, firstUsable, entriesAt: 2 };
  return [...encodeCopies(diskBytes, sectorBytes, table), { offsetBytes: 0, bytes: sector }];
}

/** Encodes the GPT of a disk that becomes smaller because its last partition does; everything else stays as it is.
 *  @param lastSector the new end of the partition. @throws {RangeError} when the disk's table cannot be read. */
export async function encodeSmallerGpt(
  read: ReadBytes,
  diskBytes: number,
  sectorBytes: number,
  { number, lastSector }: Pick<NewPartition, 'number' | 'lastSector'>,
): Promise<PlacedBytes[]> {
  const gpt = await readGpt(read, 1, sectorBytes);
  if (typeof gpt === 'string') throw new RangeError(`the GPT ${gpt}`);
  const header = await read(sectorBytes, sectorBytes);
  const [count, entryBytes] = [header.readUInt32LE(80), header.readUInt32LE(84)];
  const entriesAt = boundedBytes(header.readBigUInt64LE(72), 1);
  const entries = Buffer.from(await read(entriesAt * sectorBytes, count * entryBytes));
  entries.writeBigUInt64LE(BigInt(lastSector), (number - 1) * entryBytes + 40);
  const table = { diskId: gpt.diskId, entries, entryBytes, entriesAt, firstUsable: gpt.usable.first };
  if ((lastSector + 1) * sectorBytes + entries.length + sectorBytes > diskBytes)
    throw new RangeError(`a table of ${count} entries has no room at the end of the disk`);
  // A hybrid MBR has further partitions.
  const mbr = Buffer.from(await read(0, sectorBytes));
  const most = sectorsForMbr(diskBytes, sectorBytes);
  for (const at of [446, 462, 478, 494])
    if (mbr[at + 4] === PROTECTIVE) mbr.writeUInt32LE(Math.min(mbr.readUInt32LE(at + 12), most), at + 12);
  return [...encodeCopies(diskBytes, sectorBytes, table), { offsetBytes: 0, bytes: mbr }];
}

function sectorsForMbr(diskBytes: number, sectorBytes: number): number {
  return Math.min(Math.floor(diskBytes / sectorBytes) - 1, 0xffff_ffff);
}

interface RawTable {
  readonly diskId: string;
  readonly entries: Buffer;
  readonly entryBytes: number;
  /** The sector of the first copy's entries. */
  readonly entriesAt: number;
  readonly firstUsable: number;
}

/** @see UEFI specification 5.3.2 (header) */
function encodeCopies(diskBytes: number, sectorBytes: number, table: RawTable): PlacedBytes[] {
  const { diskId, entries, entryBytes, entriesAt, firstUsable } = table;
  const last = Math.floor(diskBytes / sectorBytes) - 1;
  const endEntriesAt = last - Math.ceil(entries.length / sectorBytes);
  const header = (own: number, other: number, ownEntries: number): PlacedBytes => {
    const sector = Buffer.alloc(sectorBytes);
    sector.write('EFI PART', 0, 'latin1');
    sector.writeUInt32LE(0x0001_0000, 8);
    sector.writeUInt32LE(HEADER_BYTES, 12);
    sector.writeBigUInt64LE(BigInt(own), 24);
    sector.writeBigUInt64LE(BigInt(other), 32);
    sector.writeBigUInt64LE(BigInt(firstUsable), 40);
    sector.writeBigUInt64LE(BigInt(endEntriesAt - 1), 48);
    efiGuidBytes(diskId).copy(sector, 56);
    sector.writeBigUInt64LE(BigInt(ownEntries), 72);
    sector.writeUInt32LE(entries.length / entryBytes, 80);
    sector.writeUInt32LE(entryBytes, 84);
    sector.writeUInt32LE(crc32(entries), 88);
    sector.writeUInt32LE(crc32(sector.subarray(0, HEADER_BYTES)), 16);
    return { offsetBytes: own * sectorBytes, bytes: sector };
  };
  return [
    { offsetBytes: endEntriesAt * sectorBytes, bytes: entries },
    header(last, 1, endEntriesAt),
    { offsetBytes: entriesAt * sectorBytes, bytes: entries },
    header(1, last, entriesAt),
  ];
}
