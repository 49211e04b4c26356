import { z } from 'zod';
import { requireSuperblock } from '../filesystem/ext4/open.ts';
import { SUPERBLOCK_AT, SUPERBLOCK_BYTES } from '../formats/ext4/superblock.ts';
import { requireDisk } from '../host-files/given-paths.ts';
import { safeName } from '../programs/safe-name.ts';
import { defineStep, type Step } from '../run/define-step.ts';
import { path } from '../spec/fields.ts';
import { bytesToSectors, SECTOR_BYTES } from '../units.ts';

const STEP = 'tuneFilesystem';

const schema = z.object({
  /** A device, or a raw image; unmounted. */
  device: path,
  /** Where the filesystem begins in it, in bytes; default 0. */
  offsetBytes: z.int().min(0).multipleOf(SECTOR_BYTES).default(0),
});

export interface TuneFilesystemOptions extends z.input<typeof schema> {}

export interface TunedFilesystem {
  /** `2026-01-31T12:00:00.000Z`, read back. */
  readonly lastChecked: string;
  readonly uuid: string;
}

/** Arguments of tune2fs: checked just now, and never due for a check by count or by time. */
export function tuneFilesystemArgs(name: string): string[] {
  return ['tune2fs', '-T', 'now', '-c', '0', '-i', '0', name];
}

/** Marks an ext4 filesystem as checked just now, so that resize2fs takes it without a forced check first: it refuses
 *  one that was mounted since its last check. Replays the journal and checks before, so that the mark is true.
 *  @see tune2fs(8), resize2fs(8). Runs: dd, e2fsck, tune2fs. */
export const tuneFilesystem: Step<TuneFilesystemOptions, TunedFilesystem> = defineStep({
  name: STEP,
  options: schema,
  runs: ['dd', 'e2fsck', 'tune2fs'],
  where: 'anywhere',
  async prepare({ device }, { onHost }) {
    if (onHost) await requireDisk(STEP, device, [], 'device');
  },
  detail: ({ device }) => device,
  async run(step, { device, offsetBytes }) {
    // The names of a machine's devices are plain.
    await using safe = await safeName(device);
    const { cwd } = safe;
    const name = offsetBytes === 0 ? safe.name : `${safe.name}?offset=${offsetBytes}`;
    // Without -f: only a filesystem that was not unmounted cleanly is looked into. 1 means: mended.
    await step.tryRun(['e2fsck', '-p', name], { answers: [1], cwd, what: `the filesystem of ${device} is damaged` });
    await step.run(tuneFilesystemArgs(name), { cwd });
    const from = [`if=${safe.name}`, `bs=${SECTOR_BYTES}`, `skip=${bytesToSectors(offsetBytes + SUPERBLOCK_AT)}`];
    const sectors = SUPERBLOCK_BYTES / SECTOR_BYTES;
    const { stdout } = await step.run(['dd', ...from, `count=${sectors}`, 'status=none'], { cwd });
    const { lastChecked, uuid } = requireSuperblock(STEP, device, stdout);
    return { lastChecked: new Date(lastChecked * 1000).toISOString(), uuid };
  },
});
