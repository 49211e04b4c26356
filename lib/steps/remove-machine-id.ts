import { z } from 'zod';
import { requireDirectory } from '../host-files/given-paths.ts';
import { defineStep, type Step, type WithOldNames } from '../run/define-step.ts';
import { absolutePath } from '../spec/fields.ts';

const STEP = 'removeMachineId';

const schema = z.object({
  /** The mounted root, as the executor sees it; default "/mnt". */
  mountPoint: absolutePath.default('/mnt'),
});

const OLD_NAMES = { root: 'mountPoint' } as const;

export type RemoveMachineIdOptions = WithOldNames<z.input<typeof schema>, typeof OLD_NAMES>;

/** Removes the `/etc/machine-id` that activation created, because every machine must create its own.
 *  @see machine-id(5). Runs: rm. */
export const removeMachineId: Step<RemoveMachineIdOptions, void> = defineStep({
  name: STEP,
  options: schema,
  oldNames: OLD_NAMES,
  runs: ['rm'],
  where: 'anywhere',
  async prepare({ mountPoint }, { onHost }) {
    if (onHost) await requireDirectory(STEP, mountPoint, 'mountPoint');
  },
  async run(step, { mountPoint }) {
    await step.run(['rm', '-f', `${mountPoint}/etc/machine-id`]);
  },
});
