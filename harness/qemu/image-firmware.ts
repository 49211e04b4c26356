import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type DiskFormat, inspectDiskImage } from '../../lib/disk-image-format.ts';
import { localExecutor } from '../../lib/local-executor.ts';
import { SECTOR_BYTES } from '../../lib/units.ts';
import { HarnessError } from '../errors.ts';
import { makeMachineFolder } from '../machine-folder.ts';

/** Partition type GUIDs as they stand in a GPT: the first three fields are little-endian. @see UEFI specification 5.3 */
const ESP_TYPE = '28732ac11ff8d211ba4b00a0c93ec93b';
const BIOS_BOOT_TYPE = Buffer.from('Hah!IdontNeedEFI').toString('hex');
const MBR_ESP_TYPE = 0xef;

/** Which firmware an image is made to be booted by, by its partition table: an ESP is for EFI, a BIOS boot partition or an
 *  MBR with boot code for legacy BIOS. Empty for an image without a table.
 *  Runs: qemu-img. */
export async function imageFirmware(image: string, format?: DiskFormat): Promise<('legacy' | 'efi')[]> {
  const facts = await inspectDiskImage(image, format);
  await using folder = await makeMachineFolder();
  const head = join(folder.path, 'head');
  const result = await localExecutor.run([
    'qemu-img',
    'dd',
    '-f',
    facts.format,
    '-O',
    'raw',
    `bs=${SECTOR_BYTES}`,
    'count=64',
    `if=${facts.file}`,
    `of=${head}`,
  ]);
  if (result.exitCode !== 0)
    throw new HarnessError(`cannot read the first sectors of ${image}`, { detail: result.stderr.toString('utf8') });
  return firmwareOfTable(await readFile(head));
}

/** The same from the first 64 sectors. */
function firmwareOfTable(sectors: Buffer): ('legacy' | 'efi')[] {
  if (sectors.readUInt16LE(510) !== 0xaa55) return [];
  const found: ('legacy' | 'efi')[] = [];
  if (sectors.subarray(SECTOR_BYTES, SECTOR_BYTES + 8).toString('latin1') === 'EFI PART') {
    const types = new Set<string>();
    for (let at = 2 * SECTOR_BYTES; at + 128 <= sectors.length; at += 128)
      types.add(sectors.subarray(at, at + 16).toString('hex'));
    if (types.has(BIOS_BOOT_TYPE)) found.push('legacy');
    if (types.has(ESP_TYPE)) found.push('efi');
    return found;
  }
  // A FAT or ext4 filesystem without a table has the same signature; only a table has partitions.
  const types = [0, 1, 2, 3].map((index) => sectors[446 + 16 * index + 4] ?? 0);
  if (types.some((type) => type !== 0) && sectors[0] !== 0) found.push('legacy');
  if (types.includes(MBR_ESP_TYPE)) found.push('efi');
  return found;
}
