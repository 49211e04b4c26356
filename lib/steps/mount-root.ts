import { z } from 'zod';
import { defineStep, type Step } from '../run/define-step.ts';
import { absolutePath } from '../spec/fields.ts';

const STEP = 'mountRoot';

const schema = z.object({
  /** The root partition's device. */
  device: absolutePath,
  /** Created if it does not exist; default "/mnt". */
  mountPoint: absolutePath.default('/mnt'),
  /** Default "ext4". */
  fsType: z
    .string()
    .regex(/^[a-z0-9]+$/)
    .default('ext4'),
});

export interface MountRootOptions extends z.input<typeof schema> {}

/** Mounts the root filesystem. The executor must be allowed to mount, like the builder VM, or this host as root.
 *  @see mount(8). Runs: mkdir, mount. */
export const mountRoot: Step<MountRootOptions, { readonly mountPoint: string }> = defineStep({
  name: STEP,
  options: schema,
  runs: ['mkdir', 'mount'],
  where: 'anywhere',
  detail: ({ device }) => device,
  async run(step, { device, mountPoint, fsType }) {
    await step.run(['mkdir', '-p', mountPoint]);
    await step.run(['mount', '-t', fsType, device, mountPoint], { what: `cannot mount ${device} as ${fsType}` });
    return { mountPoint };
  },
});
