import { BLOCK_LIST_AT, BOOT_CODE_BYTES, KERNEL_SECTOR_AT } from '../boot-loader/grub-core.ts';
import { boundedBytes } from '../formats/bounded.ts';
import { SECTOR_BYTES } from '../units.ts';
import { type Finding, finding } from './finding.ts';
import type { ImageReader } from './image-reader.ts';
import type { FoundTable } from './partition-tables.ts';

/** The loader that the boot sector starts. */
export interface BiosBoot {
  readonly loader: 'grub' | 'other' | 'none';
  readonly findings: readonly Finding[];
}

/** Reads the boot sector like a BIOS, and follows it to GRUB's core image. */
export async function readBiosBoot(
  image: ImageReader,
  { table, partitions, sectorBytes }: FoundTable,
): Promise<BiosBoot> {
  const findings: Finding[] = [];
  const say = (name: string, severity: Finding['severity'], stage: Finding['stage'], message: string): void => {
    findings.push(finding(name, severity, stage, message, 'bios'));
  };
  if (sectorBytes !== SECTOR_BYTES)
    say(
      ...(['bios-large-sectors', 'fatal', 'firmware'] as const),
      `the disk has sectors of ${sectorBytes} bytes, but a BIOS boots only from sectors of ${SECTOR_BYTES} bytes`,
    );
  const sector = await image.read(0, SECTOR_BYTES);
  if (sector.length < SECTOR_BYTES || sector.readUInt16LE(510) !== 0xaa55) {
    say('no-boot-signature', 'fatal', 'firmware', 'sector 0 does not end with 55 AA: it is not a boot sector');
    return { loader: 'none', findings };
  }
  if (sector.subarray(0, BOOT_CODE_BYTES).every((byte) => byte === 0)) {
    say('no-boot-code', 'fatal', 'loader', 'sector 0 has no boot code: its first 440 bytes are zero');
    return { loader: 'none', findings };
  }
  if (!sector.subarray(0, BOOT_CODE_BYTES).includes('GRUB')) return { loader: 'other', findings };
  const first = boundedBytes(sector.readBigUInt64LE(KERNEL_SECTOR_AT), 1);
  const core = await image.read(boundedBytes(first, SECTOR_BYTES), SECTOR_BYTES);
  if (core.length < SECTOR_BYTES || core.every((byte) => byte === 0)) {
    say('no-core-image', 'fatal', 'loader', `GRUB's boot sector loads sector ${first}, which contains no core image`);
    return { loader: 'grub', findings };
  }
  const [start, count] = [boundedBytes(core.readBigUInt64LE(BLOCK_LIST_AT), 1), core.readUInt16LE(BLOCK_LIST_AT + 8)];
  const missing = await emptySector(image, start, count);
  if (missing !== undefined)
    say(
      ...(['core-image-cut', 'fatal', 'loader'] as const),
      `GRUB's core image has ${count + 1} sectors from ${first} on, but sector ${missing} is empty: it is cut off`,
    );
  const inGap = table === 'msdos' && partitions.every(({ startSectors }) => startSectors > start + count);
  const inPartition = partitions.some(
    ({ purpose, startSectors, sizeSectors }) =>
      purpose === 'bios-grub' && first >= startSectors && start + count <= startSectors + sizeSectors,
  );
  if (table === 'gpt' && !inPartition)
    say(
      ...(['core-image-unprotected', 'error', 'loader'] as const),
      `GRUB's core image in sectors ${first} to ${start + count - 1} is not in a BIOS boot partition: partitioning tools may overwrite it`,
    );
  else if (table === 'msdos' && !inGap)
    say('core-image-in-partition', 'warning', 'loader', "GRUB's core image is not in the gap after the MBR");
  return { loader: 'grub', findings };
}

const CHUNK_SECTORS = 2048;

/** Finds the first sector of a core image that is zero, or beyond the end of the disk. A core image is compressed, so
 *  that it has no sector of zeros. */
async function emptySector(image: ImageReader, start: number, count: number): Promise<number | undefined> {
  for (let at = 0; at < count; at += CHUNK_SECTORS) {
    const wanted = Math.min(CHUNK_SECTORS, count - at);
    const bytes = await image.read(boundedBytes(start + at, SECTOR_BYTES), wanted * SECTOR_BYTES);
    for (let index = 0; index < wanted; index += 1) {
      const sector = bytes.subarray(index * SECTOR_BYTES, (index + 1) * SECTOR_BYTES);
      if (sector.length < SECTOR_BYTES || sector.every((byte) => byte === 0)) return start + at + index;
    }
  }
  return undefined;
}
