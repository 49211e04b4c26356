import { basename, dirname } from 'node:path';
import { z } from 'zod';
import { FAT_EPOCH, type FatFacts, fatBits, readFat } from '../filesystem/fat.ts';
import { requireDisk } from '../host-files/given-paths.ts';
import { defineStep, type Step } from '../run/define-step.ts';
import { fatLabel, partitionExtent, path, sectorSize, timestamp, volumeId } from '../spec/fields.ts';
import { bytesToSectors, KIB, SECTOR_BYTES } from '../units.ts';

const STEP = 'makeBootFilesystem';

const schema = z.object({
  /** A raw disk image. */
  image: path,
  /** The ESP, the XBOOTLDR partition or legacy+boot's /boot, as partitionDisk returns it, with the size of the disk's sectors. Bytes. */
  partition: partitionExtent.extend({ sectorBytes: sectorSize.default(SECTOR_BYTES) }),
  /** At most 11 bytes; default "ESP". make-disk-image labels the XBOOTLDR partition and legacy+boot's "BOOT". */
  label: fatLabel.default('ESP'),
  /** 8 hexadecimal digits; default: derived from the current time. */
  volumeId: volumeId.optional(),
  /** Seconds since 1970; default: now. Together with volumeId, it makes the filesystem reproducible. */
  timestamp: timestamp.optional(),
});

export interface MakeBootFilesystemOptions extends z.input<typeof schema> {}

/** Arguments of mkfs.vfat: the offset in sectors, the size in KiB. */
export function makeBootFilesystemArgs(options: MakeBootFilesystemOptions): string[] {
  const { image, partition, label = 'ESP', volumeId: id, timestamp: time } = options;
  const { sectorBytes = SECTOR_BYTES, offsetBytes, sizeBytes } = partition;
  return [
    'mkfs.vfat',
    ...(sectorBytes === SECTOR_BYTES ? [] : ['-S', `${sectorBytes}`]),
    ...['-F', `${fatBits(sizeBytes, sectorBytes)}`, '--offset', `${bytesToSectors(offsetBytes, sectorBytes)}`],
    // --invariant replaces everything that depends on the time, including the volume ID unless it is given.
    ...(time === undefined ? [] : ['--invariant']),
    ...(id === undefined ? [] : ['-i', id]),
    ...['-n', label, `./${basename(image)}`, `${Math.floor(sizeBytes / KIB)}`],
  ];
}

/** Makes a FAT filesystem in a partition of an image, without root and without mounting. mountBootFilesystem makes one
 *  on a device, and mounts it.
 *  @returns the volume ID and sizes, read back from the boot sector.
 *  @see mkfs.fat(8); UEFI specification 13.3. Runs: mkfs.vfat. */
export const makeBootFilesystem: Step<MakeBootFilesystemOptions, FatFacts> = defineStep({
  name: STEP,
  options: schema,
  runs: ['mkfs.vfat'],
  where: 'host',
  async prepare({ image, partition }) {
    await requireDisk(STEP, image, [partition]);
  },
  detail: ({ label }) => label,
  async run(step, parsed) {
    await step.run(makeBootFilesystemArgs(parsed), {
      cwd: dirname(parsed.image),
      env:
        parsed.timestamp === undefined
          ? {}
          : { SOURCE_DATE_EPOCH: `${Math.max(parsed.timestamp, FAT_EPOCH)}`, TZ: 'UTC' },
      what: `cannot make the FAT filesystem "${parsed.label}" in ${parsed.image}`,
    });
    return readFat(STEP, { image: parsed.image, offsetBytes: parsed.partition.offsetBytes });
  },
});
