import { open } from 'node:fs/promises';
import { z } from 'zod';
import { BOOT_CODE_BYTES } from '../boot-loader/grub-core.ts';
import { requireDisk } from '../host-files/given-paths.ts';
import { defineStep, type Step } from '../run/define-step.ts';
import { partitionedDisk, path } from '../spec/fields.ts';
import { MIB, SECTOR_BYTES } from '../units.ts';

const STEP = 'copyBootCode';

const schema = z.object({
  /** Raw disk images with the same layout. */
  from: path,
  to: path,
  /** As partitionDisk returned it. */
  disk: partitionedDisk,
});

export interface CopyBootCodeOptions extends z.input<typeof schema> {}

/** Copies the boot code for BIOS from one disk to another: the code in the boot sector, and GRUB's core image in the
 *  gap after an MBR or in the BIOS boot partition. Runs: nothing. */
export const copyBootCode: Step<CopyBootCodeOptions, void> = defineStep({
  name: STEP,
  options: schema,
  runs: [],
  where: 'host',
  async prepare({ from, to, disk }) {
    await requireDisk(STEP, from, disk.partitions, 'from');
    await requireDisk(STEP, to, disk.partitions, 'to');
  },
  detail: ({ disk }) => disk.table,
  async run(_step, { from, to, disk }) {
    if (disk.table === 'none') return;
    const first = Math.min(...disk.partitions.map(({ offsetBytes }) => offsetBytes));
    const gap = disk.table === 'msdos' ? [{ offsetBytes: SECTOR_BYTES, sizeBytes: first - SECTOR_BYTES }] : [];
    await using source = await open(from, 'r');
    await using target = await open(to, 'r+');
    const areas = [
      { offsetBytes: 0, sizeBytes: BOOT_CODE_BYTES },
      ...gap,
      ...(disk.biosGrub === undefined ? [] : [disk.biosGrub]),
    ];
    for (const { offsetBytes, sizeBytes } of areas)
      for (let at = 0; at < sizeBytes; at += MIB) {
        const bytes = Buffer.alloc(Math.min(MIB, sizeBytes - at));
        await source.read(bytes, 0, bytes.length, offsetBytes + at);
        await target.write(bytes, 0, bytes.length, offsetBytes + at);
      }
  },
});
