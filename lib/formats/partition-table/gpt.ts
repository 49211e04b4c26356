import { crc32 } from 'node:zlib';
import { boundedBytes } from '../bounded.ts';
import type { ReadBytes } from '../extent.ts';
import { formatEfiGuid } from '../guid.ts';
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
