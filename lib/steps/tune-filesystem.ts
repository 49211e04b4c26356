import { z } from 'zod';
import { ext4Location, readExt4Superblock } from '../filesystem/ext4/debugfs.ts';
import { requireDisk } from '../host-files/given-paths.ts';
import { defineStep, type Step } from '../run/define-step.ts';
import { path } from '../spec/fields.ts';

const STEP = 'tuneFilesystem';

const schema = z.object({
  /** A device, or a raw image; unmounted. */
  device: path,
  /** Where the filesystem begins in it, in bytes; default 0. */
  offsetBytes: z.int().min(0).default(0),
});

export interface TuneFilesystemOptions extends z.input<typeof schema> {}

export interface TunedFilesystem {
  /** As debugfs prints it, read back. */
  readonly lastChecked: string;
  readonly uuid: string;
}

/** Arguments of tune2fs: checked just now, and never due for a check by count or by time. */
export function tuneFilesystemArgs(name: string): string[] {
  return ['tune2fs', '-T', 'now', '-c', '0', '-i', '0', name];
}

/** Marks an ext4 filesystem as checked just now, so that resize2fs takes it without a forced check first: it refuses
 *  one that was mounted since its last check. Replays the journal and checks before, so that the mark is true.
 *  @see tune2fs(8), resize2fs(8). Runs: debugfs, e2fsck, tune2fs. */
export const tuneFilesystem: Step<TuneFilesystemOptions, TunedFilesystem> = defineStep({
  name: STEP,
  options: schema,
  runs: ['e2fsck', 'tune2fs', 'debugfs'],
  where: 'anywhere',
  async prepare({ device }, { onHost }) {
    if (onHost) await requireDisk(STEP, device, [], 'device');
  },
  detail: ({ device }) => device,
  async run(step, { device, offsetBytes }) {
    const location = ext4Location(STEP, device, offsetBytes);
    const { name, cwd } = location;
    // Without -f: only a filesystem that was not unmounted cleanly is looked into. 1 means: mended.
    await step.tryRun(['e2fsck', '-p', name], { answers: [1], cwd, what: `the filesystem of ${device} is damaged` });
    await step.run(tuneFilesystemArgs(name), { cwd });
    const { lastChecked, uuid } = await readExt4Superblock(step, location);
    return { lastChecked, uuid };
  },
});
