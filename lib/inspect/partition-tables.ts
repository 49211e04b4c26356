import { crc32 } from 'node:zlib';
import { formatEfiGuid } from '../guid.ts';
import { SECTOR_BYTES, sectorsToBytes } from '../units.ts';
import type { Finding } from './finding.ts';
import type { ImageReader } from './image-reader.ts';

/** A partition as the table has it. */
export interface FoundPartition {
  readonly number: number;
  readonly startSectors: number;
  readonly sizeSectors: number;
  readonly offsetBytes: number;
  readonly sizeBytes: number;
  /** GPT: a GUID in lower case; msdos: two hexadecimal digits. */
  readonly type: string;
  /** What the type is for, where it is known here. */
  readonly purpose: PartitionPurpose | undefined;
  readonly name: string;
  /** The kernel's PARTUUID, lower case. */
  readonly partitionUuid: string;
}

export interface FoundTable {
  readonly table: 'gpt' | 'msdos' | 'none';
  /** GPT: a GUID in lower case; msdos: eight hexadecimal digits. */
  readonly diskId: string | undefined;
  readonly partitions: readonly FoundPartition[];
  readonly findings: readonly Finding[];
}

type PartitionPurpose = 'esp' | 'xbootldr' | 'bios-grub' | 'linux' | 'swap' | 'lvm';

/** @see UEFI specification 5.3, Discoverable Partitions Specification, GRUB manual "BIOS installation" */
const GPT_TYPES: Readonly<Record<string, PartitionPurpose>> = {
  'c12a7328-f81f-11d2-ba4b-00a0c93ec93b': 'esp',
  'bc13c2ff-59e6-4262-a352-b275fd6f7172': 'xbootldr',
  '21686148-6449-6e6f-744e-656564454649': 'bios-grub',
  '0fc63daf-8483-4772-8e79-3d69d8477de4': 'linux',
  '4f68bce3-e8cd-4db1-96e7-fbcaf984b709': 'linux',
  'b921b045-1df0-41c3-af44-4c6f280d3fae': 'linux',
  '0657fd6d-a4ab-43c4-84e5-0933c84b4f4f': 'swap',
  'e6d6d379-f507-44c2-a23c-238f2a3df928': 'lvm',
};
const MBR_TYPES: Readonly<Record<number, PartitionPurpose>> = { 239: 'esp', 131: 'linux', 130: 'swap', 142: 'lvm' };
const PROTECTIVE = 0xee;

/** Reads the partition table, both copies of a GPT, and checks them as firmware does.
 *  @see UEFI specification 5.3.2: signature, header CRC, own LBA, CRC of the entries. */
export async function readPartitionTable(image: ImageReader): Promise<FoundTable> {
  const head = await image.read(0, 34 * SECTOR_BYTES);
  const findings: Finding[] = [];
  const sectors = Math.floor(image.virtualBytes / SECTOR_BYTES);
  const signed = head.length >= SECTOR_BYTES && head.readUInt16LE(510) === 0xaa55;
  const primary = await readGpt(image, 1);
  const atEnd = await readGpt(image, sectors - 1);
  const meantForGpt = signed && [0, 1, 2, 3].some((index) => head[446 + 16 * index + 4] === PROTECTIVE);
  if (typeof primary !== 'string' || typeof atEnd !== 'string' || meantForGpt) {
    const used = typeof primary === 'string' ? atEnd : primary;
    if (typeof used === 'string') {
      const message = `the GPT in sector 1 ${primary}, and the one at the disk's end ${used}`;
      findings.push({ name: 'gpt-damaged', severity: 'fatal', stage: 'firmware', message });
      return { table: 'gpt', diskId: undefined, partitions: [], findings };
    }
    if (typeof primary === 'string') {
      const message = `the GPT in sector 1 ${primary}; the one at the disk's end is good, and firmware may use it`;
      findings.push({ name: 'gpt-primary-damaged', severity: 'error', stage: 'firmware', message });
    } else if (typeof atEnd === 'string') {
      const elsewhere = primary.alternate < sectors - 1 ? await readGpt(image, primary.alternate) : 'is not there';
      const good = typeof elsewhere !== 'string';
      const message = good
        ? `the backup GPT is in sector ${primary.alternate}, not in the disk's last (${sectors - 1}): the disk was enlarged`
        : `the backup GPT in sector ${primary.alternate} ${primary.alternate >= sectors ? `is behind the disk's end (${sectors} sectors)` : atEnd}`;
      const name = good ? 'gpt-backup-misplaced' : 'gpt-backup-damaged';
      findings.push({ name, severity: good ? 'warning' : 'error', stage: 'firmware', message });
    }
    if (!signed)
      findings.push({
        ...{ name: 'no-protective-mbr', severity: 'error', stage: 'firmware' },
        message: 'sector 0 has no protective MBR: the kernel and many firmwares take the GPT only with one',
      });
    findings.push(...beyondTheEnd(used.partitions, sectors));
    return { table: 'gpt', diskId: used.diskId, partitions: used.partitions, findings };
  }
  // A filesystem without a table may have the same signature; a table's entries begin with 00 or 80.
  const entries = [0, 1, 2, 3].map((index) => head.subarray(446 + 16 * index, 462 + 16 * index));
  const isTable =
    signed && entries.every((entry) => entry[0] === 0 || entry[0] === 0x80) && entries.some((entry) => entry[4] !== 0);
  if (!isTable) return { table: 'none', diskId: undefined, partitions: [], findings };
  const diskId = head.readUInt32LE(440).toString(16).padStart(8, '0');
  const partitions = entries.flatMap((entry, index) => {
    const type = entry[4] ?? 0;
    if (type === 0) return [];
    return [
      partition(index + 1, entry.readUInt32LE(8), entry.readUInt32LE(12), {
        type: type.toString(16).padStart(2, '0'),
        purpose: MBR_TYPES[type],
        name: '',
        partitionUuid: `${diskId}-${`${index + 1}`.padStart(2, '0')}`,
      }),
    ];
  });
  findings.push(...beyondTheEnd(partitions, sectors));
  return { table: 'msdos', diskId, partitions, findings };
}

function beyondTheEnd(partitions: readonly FoundPartition[], sectors: number): Finding[] {
  return partitions
    .filter(({ startSectors, sizeSectors }) => startSectors + sizeSectors > sectors)
    .map(({ number, startSectors, sizeSectors }) => ({
      name: 'image-truncated',
      severity: 'fatal',
      stage: 'stage 1',
      message: `partition ${number} ends at sector ${startSectors + sizeSectors}, and the disk has ${sectors}: the image is cut off`,
    }));
}

function partition(
  number: number,
  startSectors: number,
  sizeSectors: number,
  more: Pick<FoundPartition, 'type' | 'purpose' | 'name' | 'partitionUuid'>,
): FoundPartition {
  const [offsetBytes, sizeBytes] = [sectorsToBytes(startSectors), sectorsToBytes(sizeSectors)];
  return { number, startSectors, sizeSectors, offsetBytes, sizeBytes, ...more };
}

interface Gpt {
  readonly diskId: string;
  readonly alternate: number;
  readonly partitions: readonly FoundPartition[];
}

/** The GPT whose header is in a sector, or what is wrong with it. */
async function readGpt(image: ImageReader, sector: number): Promise<Gpt | string> {
  const header = await image.read(sector * SECTOR_BYTES, SECTOR_BYTES);
  if (header.length < SECTOR_BYTES || header.toString('latin1', 0, 8) !== 'EFI PART') return 'has no signature';
  const headerBytes = header.readUInt32LE(12);
  if (headerBytes < 92 || headerBytes > SECTOR_BYTES) return `claims a header of ${headerBytes} bytes`;
  const summed = Buffer.from(header.subarray(0, headerBytes));
  summed.writeUInt32LE(0, 16);
  if (crc32(summed) !== header.readUInt32LE(16)) return 'has a header whose checksum is wrong';
  if (Number(header.readBigUInt64LE(24)) !== sector) return 'says that it is in another sector';
  const [count, size] = [header.readUInt32LE(80), header.readUInt32LE(84)];
  if (size < 128 || count * size > 1024 * 1024) return `claims ${count} entries of ${size} bytes`;
  const entries = await image.read(Number(header.readBigUInt64LE(72)) * SECTOR_BYTES, count * size);
  if (crc32(entries) !== header.readUInt32LE(88)) return 'has entries whose checksum is wrong';
  const partitions: FoundPartition[] = [];
  for (let index = 0; index < count; index += 1) {
    const entry = entries.subarray(index * size, (index + 1) * size);
    const type = formatEfiGuid(entry.subarray(0, 16));
    if (/^[0-]+$/.test(type)) continue;
    const [first, last] = [Number(entry.readBigUInt64LE(32)), Number(entry.readBigUInt64LE(40))];
    const name = entry.toString('utf16le', 56, 128).replace(/\0.*$/s, '');
    const partitionUuid = formatEfiGuid(entry.subarray(16, 32));
    partitions.push(
      partition(index + 1, first, last - first + 1, { type, purpose: GPT_TYPES[type], name, partitionUuid }),
    );
  }
  return { diskId: formatEfiGuid(header.subarray(56, 72)), alternate: Number(header.readBigUInt64LE(32)), partitions };
}
