import { z } from 'zod';
import { runStep, type StepContext } from '../run/step.ts';
import { absolutePath } from '../spec/fields.ts';
import { parseOptions } from '../spec/parse-options.ts';

const STEP = 'unmountRoot';

const schema = z.object({ mountPoint: absolutePath.default('/mnt') });

/** Unmounts the root filesystem with everything mounted below it; what was written is on the device then.
 *  @see umount(8) --recursive. Runs: umount. */
export async function unmountRoot(
  options: { readonly mountPoint?: string | undefined } = {},
  context?: StepContext,
): Promise<void> {
  const { mountPoint } = parseOptions(STEP, schema, options);
  return runStep(STEP, context, mountPoint, async (step) => {
    await step.run(['umount', '--recursive', mountPoint], { what: `cannot unmount ${mountPoint}` });
  });
}
