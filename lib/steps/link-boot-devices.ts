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
  /** The disk that replaces each of them. */
  disk: absolutePath,
});

export interface LinkBootDevicesOptions extends z.input<typeof schema> {}

/** Makes each device that does not exist a link to the image's disk: a boot loader's installer writes to the device
 *  that it is configured for, whatever the disk is called in the builder VM. Runs: ln, mkdir, test. */
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
