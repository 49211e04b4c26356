import { type Gpt, readGpt } from '../formats/partition-table/gpt.ts';
import { hasMbr, type Mbr, PROTECTIVE, readMbr } from '../formats/partition-table/mbr.ts';
import type { FoundPartition } from '../formats/partition-table/partition.ts';
import { SECTOR_BYTES } from '../units.ts';
import type { Budget } from './budget.ts';
import { type Finding, fewOf, finding } from './finding.ts';
import type { ImageReader } from './image-reader.ts';

export interface FoundTable {
  readonly table: 'gpt' | 'msdos' | 'none';
  /** GPT: a GUID in lower case; msdos: eight hexadecimal digits. */
  readonly diskId: string | undefined;
  /** The unit of the table. Sectors of 4096 bytes are detected by the position of the GPT; an MBR does not tell its
   *  unit. */
  readonly sectorBytes: 512 | 4096;
  readonly partitions: readonly FoundPartition[];
  /** GPT: the sectors that partitions may use. */
  readonly usable: { readonly first: number; readonly last: number } | undefined;
  readonly findings: readonly Finding[];
}

/** The limit of partitions, because each is examined. */
const MOST_PARTITIONS = 256;

/** Reads the partition table, including both copies of a GPT, and checks it like firmware. */
export async function readPartitionTable(image: ImageReader, budget: Budget): Promise<FoundTable> {
  const head = await image.read(0, SECTOR_BYTES);
  const found = (await readGptTable(image, head)) ?? (await readMsdosTable(image, head)) ?? NO_TABLE;
  const { partitions } = found;
  if (partitions.length > MOST_PARTITIONS)
    budget.leaveOut(`partitions beyond the first ${MOST_PARTITIONS} of ${partitions.length}`);
  return { ...found, partitions: partitions.slice(0, MOST_PARTITIONS) };
}

const NO_TABLE: FoundTable = {
  ...{ table: 'none', diskId: undefined, sectorBytes: SECTOR_BYTES, partitions: [], usable: undefined, findings: [] },
};

/** Reads a GPT, and checks the signature, CRC and LBA of its header and the CRC of its entries. @see UEFI specification
 *  5.3.2 */
async function readGptTable(image: ImageReader, head: Buffer): Promise<FoundTable | undefined> {
  const signed = hasMbr(head);
  const sectorBytes = await sectorBytesOf(image);
  const sectors = Math.floor(image.virtualBytes / sectorBytes);
  const primary = await readGpt(image.read, 1, sectorBytes);
  const atEnd = await readGpt(image.read, sectors - 1, sectorBytes);
  const meantForGpt = signed && [0, 1, 2, 3].some((index) => head[446 + 16 * index + 4] === PROTECTIVE);
  if (typeof primary === 'string' && typeof atEnd === 'string' && !meantForGpt) return undefined;
  const findings: Finding[] = [];
  const say = (name: string, severity: Finding['severity'], message: string): void => {
    findings.push(finding(name, severity, 'firmware', message, undefined));
  };
  const used = typeof primary === 'string' ? atEnd : primary;
  if (typeof used === 'string') {
    say('gpt-damaged', 'fatal', `the GPT in sector 1 ${primary}, and the one at the disk's end ${used}`);
    return { ...NO_TABLE, table: 'gpt', sectorBytes, findings };
  }
  if (typeof primary === 'string')
    say(
      ...(['gpt-primary-damaged', 'error'] as const),
      `the GPT in sector 1 ${primary}; the one at the disk's end is good, and firmware may use it`,
    );
  else if (typeof atEnd === 'string') {
    const elsewhere =
      primary.alternate < sectors - 1 ? await readGpt(image.read, primary.alternate, sectorBytes) : 'does not exist';
    if (typeof elsewhere !== 'string')
      say(
        ...(['gpt-backup-misplaced', 'warning'] as const),
        `the backup GPT is in sector ${primary.alternate}, not in the disk's last sector (${sectors - 1}): the disk was enlarged`,
      );
    else
      say(
        ...(['gpt-backup-damaged', 'error'] as const),
        `the backup GPT in sector ${primary.alternate} ${primary.alternate >= sectors ? `is beyond the end of the disk (${sectors} sectors)` : atEnd}`,
      );
  }
  if (!signed)
    say(
      ...(['no-protective-mbr', 'error'] as const),
      'sector 0 has no protective MBR, without which the kernel and many firmwares ignore the GPT',
    );
  findings.push(...wrongPlaces(used, sectors));
  const { diskId, partitions, usable } = used;
  return { table: 'gpt', diskId, sectorBytes, partitions, usable, findings };
}

/** The sector size: 4096 if there is a GPT at the position for sectors of 4096 bytes, and none at that for 512. */
async function sectorBytesOf(image: ImageReader): Promise<512 | 4096> {
  const isAt = async (offset: number): Promise<boolean> =>
    offset > 0 && (await image.read(offset, 8)).toString('latin1') === 'EFI PART';
  for (const sectorBytes of [512, 4096] as const) {
    const sectors = Math.floor(image.virtualBytes / sectorBytes);
    for (const sector of [1, sectors - 1])
      if (typeof (await readGpt(image.read, sector, sectorBytes)) !== 'string') return sectorBytes;
  }
  return !(await isAt(512)) && (await isAt(4096)) ? 4096 : 512;
}

async function readMsdosTable(image: ImageReader, head: Buffer): Promise<FoundTable | undefined> {
  const mbr: Mbr | undefined = await readMbr(image.read, head);
  if (mbr === undefined) return undefined;
  const sectors = Math.floor(image.virtualBytes / SECTOR_BYTES);
  const chains = mbr.damage.map((wrong) =>
    finding('logical-partitions-damaged', 'error', 'stage 1', `the chain of logical partitions ${wrong}`, undefined),
  );
  const findings = [...chains, ...wrongPlaces(mbr, sectors)];
  const { diskId, partitions } = mbr;
  return { table: 'msdos', diskId, sectorBytes: SECTOR_BYTES, partitions, usable: undefined, findings };
}

/** Reports partitions that end beyond the disk, or before they start. */
function wrongPlaces({ partitions }: Pick<Gpt | Mbr, 'partitions'>, sectors: number): Finding[] {
  const beyond = partitions
    .filter(({ startSectors, sizeSectors }) => startSectors + sizeSectors > sectors)
    .map(({ number, startSectors, sizeSectors }) =>
      finding(
        ...(['image-truncated', 'fatal', 'stage 1'] as const),
        `partition ${number} ends at sector ${startSectors + sizeSectors}, but the disk has ${sectors}: the image is cut off`,
        undefined,
      ),
    );
  const empty = partitions
    .filter(({ sizeSectors }) => sizeSectors === 0)
    .map(({ number }) =>
      finding(
        ...(['partition-invalid', 'error', 'firmware'] as const),
        `partition ${number} ends before it starts: firmware and kernel ignore it`,
        undefined,
      ),
    );
  return [...fewOf(beyond), ...fewOf(empty)];
}
