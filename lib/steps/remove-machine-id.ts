import { z } from 'zod';
import { requireDirectory } from '../host-files/given-paths.ts';
import { defineStep, type Step } from '../run/define-step.ts';
import { absolutePath } from '../spec/fields.ts';

const STEP = 'removeMachineId';

const schema = z.object({
  /** The mounted root, as the executor sees it; default "/mnt". */
  root: absolutePath.default('/mnt'),
});

export interface RemoveMachineIdOptions extends z.input<typeof schema> {}

/** Removes `/etc/machine-id`, which activation made: every machine booted from the image must make its own.
 *  @see machine-id(5). Runs: rm. */
export const removeMachineId: Step<RemoveMachineIdOptions, void> = defineStep({
  name: STEP,
  options: schema,
  runs: ['rm'],
  where: 'anywhere',
  async prepare({ root }, { onHost }) {
    if (onHost) await requireDirectory(STEP, root, 'root');
  },
  async run(step, { root }) {
    await step.run(['rm', '-f', `${root}/etc/machine-id`]);
  },
});
