import { open } from 'node:fs/promises';
import { z } from 'zod';
import { BOOT_CODE_BYTES } from '../boot-loader/grub-core.ts';
import { requireDisk } from '../host-files/given-paths.ts';
import { runStep, type StepContext } from '../run/step.ts';
import { partitionExtent, path } from '../spec/fields.ts';
import { parseOptions } from '../spec/parse-options.ts';
import { MIB, SECTOR_BYTES } from '../units.ts';

const STEP = 'copyBootCode';

const schema = z.object({
  from: path,
  to: path,
  disk: z.object({
    table: z.enum(['gpt', 'msdos', 'none']),
    partitions: z.array(partitionExtent),
    biosGrub: partitionExtent.optional(),
  }),
});

export interface CopyBootCodeOptions {
  /** Raw disk images with the same layout. */
  readonly from: string;
  readonly to: string;
  /** As partitionDisk returned it. */
  readonly disk: {
    readonly table: 'gpt' | 'msdos' | 'none';
    readonly partitions: readonly { readonly offsetBytes: number; readonly sizeBytes: number }[];
    readonly biosGrub?: { readonly offsetBytes: number; readonly sizeBytes: number } | undefined;
  };
}

/** Copies what a BIOS boots with from one disk to another: the boot sector's code, and the core image in the gap behind an MBR
 *  or in the BIOS boot partition. Runs: nothing. */
export async function copyBootCode(options: CopyBootCodeOptions, context?: StepContext): Promise<void> {
  const { from, to, disk } = parseOptions(STEP, schema, options);
  await requireDisk(STEP, from, disk.partitions, 'from');
  await requireDisk(STEP, to, disk.partitions, 'to');
  return runStep(STEP, context, disk.table, async () => {
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
  });
}
