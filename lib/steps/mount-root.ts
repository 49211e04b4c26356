import { z } from 'zod';
import { runStep, type StepContext } from '../run/step.ts';
import { absolutePath } from '../spec/fields.ts';
import { parseOptions } from '../spec/parse-options.ts';

const STEP = 'mountRoot';

const schema = z.object({
  device: absolutePath,
  mountPoint: absolutePath.default('/mnt'),
  fsType: z
    .string()
    .regex(/^[a-z0-9]+$/)
    .default('ext4'),
});

export interface MountRootOptions {
  /** The root partition's device. */
  readonly device: string;
  /** Made when it is not there; default "/mnt". */
  readonly mountPoint?: string | undefined;
  /** Default "ext4". */
  readonly fsType?: string | undefined;
}

/** Mounts the root filesystem, where the executor may mount: the builder VM, or this host as root.
 *  @see mount(8). Runs: mkdir, mount. */
export async function mountRoot(
  options: MountRootOptions,
  context?: StepContext,
): Promise<{ readonly mountPoint: string }> {
  const { device, mountPoint, fsType } = parseOptions(STEP, schema, options);
  return runStep(STEP, context, device, async (step) => {
    await step.run(['mkdir', '-p', mountPoint]);
    await step.run(['mount', '-t', fsType, device, mountPoint], { what: `cannot mount ${device} as ${fsType}` });
    return { mountPoint };
  });
}
