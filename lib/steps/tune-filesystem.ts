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
  /** A device or a raw image, not mounted. */
  device: path,
  /** The offset of the filesystem, in bytes; default 0. */
  offsetBytes: z.int().min(0).multipleOf(SECTOR_BYTES).default(0),
});

export interface TuneFilesystemOptions extends z.input<typeof schema> {}

export interface TunedFilesystem {
  /** `2026-01-31T12:00:00.000Z`, read back from the superblock. */
  readonly lastChecked: string;
  readonly uuid: string;
}

/** Arguments of tune2fs that set the time of the last check to now, and disable periodic checks. */
export function tuneFilesystemArgs(name: string): string[] {
  return ['tune2fs', '-T', 'now', '-c', '0', '-i', '0', name];
}

/** Checks an ext4 filesystem and marks it as checked now, because resize2fs refuses a filesystem that was mounted since
 *  its last check. The check also replays the journal.
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
    await using safe = await safeName(device);
    const { cwd } = safe;
    const name = offsetBytes === 0 ? safe.name : `${safe.name}?offset=${offsetBytes}`;
    // Without -f, only a filesystem that was not unmounted cleanly is examined. Status 1 means that errors were
    // corrected.
    await step.tryRun(['e2fsck', '-p', name], { answers: [1], cwd, what: `the filesystem of ${device} is damaged` });
    await step.run(tuneFilesystemArgs(name), { cwd });
    const from = [`if=${safe.name}`, `bs=${SECTOR_BYTES}`, `skip=${bytesToSectors(offsetBytes + SUPERBLOCK_AT)}`];
    const sectors = SUPERBLOCK_BYTES / SECTOR_BYTES;
    const { stdout } = await step.run(['dd', ...from, `count=${sectors}`, 'status=none'], { cwd });
    const { lastChecked, uuid } = requireSuperblock(STEP, device, stdout);
    return { lastChecked: new Date(lastChecked * 1000).toISOString(), uuid };
  },
});
