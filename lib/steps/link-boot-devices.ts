import { dirname } from 'node:path';
import { z } from 'zod';
import { defineStep, type Step } from '../run/define-step.ts';
import { absolutePath } from '../spec/fields.ts';

const STEP = 'linkBootDevices';

const schema = z.object({
  /** Devices that the system's boot loader is configured for, such as "/dev/sda". */
  devices: z
    .array(
      absolutePath.refine((name) => /^\/dev\/./.test(name) && !name.split('/').includes('..'), 'must be below /dev'),
    )
    .readonly(),
  /** The disk that takes the place of each. */
  disk: absolutePath,
});

export interface LinkBootDevicesOptions extends z.input<typeof schema> {}

/** Makes each device a link to the image's disk, where the executor has no such device: a loader's installer writes to the one it is
 *  configured for, whichever disk the builder VM has. Runs: ln, mkdir, test. */
export const linkBootDevices: Step<LinkBootDevicesOptions, void> = defineStep({
  name: STEP,
  options: schema,
  runs: ['ln', 'mkdir', 'test'],
  where: 'anywhere',
  detail: ({ devices }) => devices.join(', '),
  async run(step, { devices, disk }) {
    for (const device of devices) {
      if ((await step.tryRun(['test', '-e', device], { answers: [1] })).exitCode === 0) continue;
      await step.run(['mkdir', '-p', dirname(device)]);
      await step.run(['ln', '-s', '--', disk, device]);
    }
  },
});
