import { z } from 'zod';
import { defineStep, type Step } from '../run/define-step.ts';
import { absolutePath } from '../spec/fields.ts';

const STEP = 'removeRandomSeed';

const schema = z.object({
  /** The mounted root, as the executor sees it; default "/mnt". */
  mountPoint: absolutePath.default('/mnt'),
  /** Where the boot partitions are mounted in it; default "/boot" and "/efi". */
  bootMountPoints: z.array(absolutePath).readonly().default(['/boot', '/efi']),
});

export interface RemoveRandomSeedOptions extends z.input<typeof schema> {}

/** Removes the `loader/random-seed` that `bootctl install` created, because all machines of the image would share it.
 *  systemd creates one at the first boot. @see bootctl(1), "random-seed". Runs: rm. */
export const removeRandomSeed: Step<RemoveRandomSeedOptions, void> = defineStep({
  name: STEP,
  options: schema,
  runs: ['rm'],
  where: 'anywhere',
  async run(step, { mountPoint, bootMountPoints }) {
    await step.run(['rm', '-f', ...bootMountPoints.map((boot) => `${mountPoint}${boot}/loader/random-seed`)]);
  },
});
