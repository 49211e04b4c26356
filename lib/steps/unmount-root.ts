import { z } from 'zod';
import { defineStep, type Step } from '../run/define-step.ts';
import { absolutePath } from '../spec/fields.ts';

const STEP = 'unmountRoot';

const schema = z.object({
  /** Default "/mnt". */
  mountPoint: absolutePath.default('/mnt'),
});

export interface UnmountRootOptions extends z.input<typeof schema> {}

/** Unmounts the root filesystem with everything mounted below it; what was written is on the device then.
 *  @see umount(8) --recursive. Runs: umount. */
export const unmountRoot: Step<UnmountRootOptions, void> = defineStep({
  name: STEP,
  options: schema,
  runs: ['umount'],
  where: 'anywhere',
  detail: ({ mountPoint }) => mountPoint,
  async run(step, { mountPoint }) {
    await step.run(['umount', '--recursive', mountPoint], { what: `cannot unmount ${mountPoint}` });
  },
});
