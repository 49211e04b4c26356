import { z } from 'zod';
import { defineStep, type Step } from '../run/define-step.ts';
import { absolutePath } from '../spec/fields.ts';

const STEP = 'unmountRoot';

const schema = z.object({
  /** Default "/mnt". */
  mountPoint: absolutePath.default('/mnt'),
});

export interface UnmountRootOptions extends z.input<typeof schema> {}

/** Unmounts the root filesystem and everything mounted below it. Afterwards, all writes are on the device.
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
