import { BLOCK_LIST_AT, BOOT_CODE_BYTES, KERNEL_SECTOR_AT } from '../boot-loader/grub-core.ts';
import { SECTOR_BYTES } from '../units.ts';
import type { Finding } from './finding.ts';
import type { ImageReader } from './image-reader.ts';
import type { FoundTable } from './partition-tables.ts';

/** What the boot sector starts. */
export interface BiosBoot {
  readonly loader: 'grub' | 'other' | 'none';
  readonly findings: readonly Finding[];
}

/** Reads the boot sector as a BIOS does, and follows it to GRUB's core image. */
export async function readBiosBoot(image: ImageReader, { table, partitions }: FoundTable): Promise<BiosBoot> {
  const findings: Finding[] = [];
  const say = (name: string, severity: Finding['severity'], stage: Finding['stage'], message: string): void => {
    findings.push({ name, severity, firmware: 'legacy', stage, message });
  };
  const sector = await image.read(0, SECTOR_BYTES);
  if (sector.length < SECTOR_BYTES || sector.readUInt16LE(510) !== 0xaa55) {
    say(
      'no-boot-signature',
      'fatal',
      'firmware',
      'sector 0 does not end with 55 AA: a BIOS takes it for no boot sector',
    );
    return { loader: 'none', findings };
  }
  if (sector.subarray(0, BOOT_CODE_BYTES).every((byte) => byte === 0)) {
    say('no-boot-code', 'fatal', 'loader', 'sector 0 has no boot code: its first 440 bytes are zeros');
    return { loader: 'none', findings };
  }
  if (!sector.subarray(0, BOOT_CODE_BYTES).includes('GRUB')) return { loader: 'other', findings };
  const first = Number(sector.readBigUInt64LE(KERNEL_SECTOR_AT));
  const core = await image.read(first * SECTOR_BYTES, SECTOR_BYTES);
  if (core.length < SECTOR_BYTES || core.every((byte) => byte === 0)) {
    say('no-core-image', 'fatal', 'loader', `GRUB's boot sector loads sector ${first}, and there is no core image`);
    return { loader: 'grub', findings };
  }
  const [start, count] = [Number(core.readBigUInt64LE(BLOCK_LIST_AT)), core.readUInt16LE(BLOCK_LIST_AT + 8)];
  const rest = await image.read(start * SECTOR_BYTES, count * SECTOR_BYTES);
  // It is compressed: a sector of zeros is none of its own.
  const missing = Array.from({ length: count }, (_, index) => index).find((index) => {
    const at = rest.subarray(index * SECTOR_BYTES, (index + 1) * SECTOR_BYTES);
    return at.length < SECTOR_BYTES || at.every((byte) => byte === 0);
  });
  if (missing !== undefined)
    say(
      ...(['core-image-cut', 'fatal', 'loader'] as const),
      `GRUB's core image has ${count + 1} sectors from ${first} on, and sector ${start + missing} is empty: it is cut off`,
    );
  const inGap = table === 'msdos' && partitions.every(({ startSectors }) => startSectors > start + count);
  const inPartition = partitions.some(
    ({ purpose, startSectors, sizeSectors }) =>
      purpose === 'bios-grub' && first >= startSectors && start + count <= startSectors + sizeSectors,
  );
  if (table === 'gpt' && !inPartition)
    say(
      ...(['core-image-unprotected', 'error', 'loader'] as const),
      `GRUB's core image in sectors ${first} to ${start + count - 1} is in no BIOS boot partition: the next who partitions overwrites it`,
    );
  else if (table === 'msdos' && !inGap)
    say('core-image-in-partition', 'warning', 'loader', "GRUB's core image is not in the gap behind the MBR");
  return { loader: 'grub', findings };
}
