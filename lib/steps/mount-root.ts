import { z } from 'zod';
import { defineStep, type Step } from '../run/define-step.ts';
import { absolutePath, partitionExtent } from '../spec/fields.ts';

const STEP = 'mountRoot';

const schema = z.object({
  /** The root partition's device. */
  device: absolutePath,
  /** Where its filesystem is, if that is not the whole device: with encryption, `luksPayload`, relative to the partition. The executor
   *  mounts it by a loop device. */
  part: partitionExtent.optional(),
  /** Created if it does not exist; default "/mnt". */
  mountPoint: absolutePath.default('/mnt'),
  /** Default "ext4". */
  fsType: z
    .string()
    .regex(/^[a-z0-9]+$/)
    .default('ext4'),
});

export interface MountRootOptions extends z.input<typeof schema> {}

/** Mounts the root filesystem, or one below it. The executor must be allowed to mount, like the builder VM, or this host as root.
 *  @see mount(8). Runs: mkdir, mount. */
export const mountRoot: Step<MountRootOptions, { readonly mountPoint: string }> = defineStep({
  name: STEP,
  options: schema,
  runs: ['mkdir', 'mount'],
  where: 'anywhere',
  detail: ({ device }) => device,
  async run(step, { device, part, mountPoint, fsType }) {
    await step.run(['mkdir', '-p', mountPoint]);
    const loop = part === undefined ? [] : ['-o', `loop,offset=${part.offsetBytes},sizelimit=${part.sizeBytes}`];
    await step.run(['mount', '-t', fsType, ...loop, device, mountPoint], {
      what: `cannot mount ${device} as ${fsType}`,
    });
    return { mountPoint };
  },
});
