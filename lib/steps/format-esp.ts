import { basename, dirname } from 'node:path';
import { z } from 'zod';
import { FAT_EPOCH, type FatFacts, fatBits, readFat } from '../filesystem/fat.ts';
import { requireDisk } from '../host-files/given-paths.ts';
import { runStep, type StepContext } from '../run/step.ts';
import { fatLabel, partitionExtent, path, timestamp, volumeId } from '../spec/fields.ts';
import { parseOptions } from '../spec/parse-options.ts';
import { bytesToSectors, KIB } from '../units.ts';

const STEP = 'formatEsp';

const schema = z.object({
  image: path,
  partition: partitionExtent,
  label: fatLabel.default('ESP'),
  volumeId: volumeId.optional(),
  timestamp: timestamp.optional(),
});

export interface FormatEspOptions {
  /** A raw disk image. */
  readonly image: string;
  /** The ESP, the XBOOTLDR partition or legacy+boot's /boot, as partitionDisk returns it. Bytes. */
  readonly partition: { readonly offsetBytes: number; readonly sizeBytes: number };
  /** At most 11 bytes; default "ESP". make-disk-image labels the XBOOTLDR partition and legacy+boot's "BOOT". */
  readonly label?: string | undefined;
  /** 8 hexadecimal digits; default: from the clock. */
  readonly volumeId?: string | undefined;
  /** Seconds since 1970: with it and a volumeId the filesystem has the same bytes each time; default: now. */
  readonly timestamp?: number | undefined;
}

/** Arguments of mkfs.vfat: the offset in sectors, the size in KiB. */
export function formatEspArgs(options: FormatEspOptions): string[] {
  const { image, partition, label = 'ESP', volumeId: id, timestamp: time } = options;
  return [
    'mkfs.vfat',
    ...['-F', `${fatBits(partition.sizeBytes)}`, '--offset', `${bytesToSectors(partition.offsetBytes)}`],
    // Fixes everything that comes from the clock, the volume ID too unless it is given.
    ...(time === undefined ? [] : ['--invariant']),
    ...(id === undefined ? [] : ['-i', id]),
    ...['-n', label, `./${basename(image)}`, `${Math.floor(partition.sizeBytes / KIB)}`],
  ];
}

/** Makes a FAT filesystem at a partition inside an image: no root, no mount. createEsp does it to a device, and mounts it.
 *  @returns the volume ID and sizes, read back from the boot sector.
 *  @see mkfs.fat(8); UEFI specification 13.3. Runs: mkfs.vfat. */
export async function formatEsp(options: FormatEspOptions, context?: StepContext): Promise<FatFacts> {
  const parsed = parseOptions(STEP, schema, options);
  await requireDisk(STEP, parsed.image, [parsed.partition]);
  return runStep(STEP, context, parsed.label, async (step) => {
    await step.run(formatEspArgs(parsed), {
      cwd: dirname(parsed.image),
      env:
        parsed.timestamp === undefined
          ? {}
          : { SOURCE_DATE_EPOCH: `${Math.max(parsed.timestamp, FAT_EPOCH)}`, TZ: 'UTC' },
      what: `cannot make the FAT filesystem "${parsed.label}" in ${parsed.image}`,
    });
    return readFat(STEP, { image: parsed.image, offsetBytes: parsed.partition.offsetBytes });
  });
}
