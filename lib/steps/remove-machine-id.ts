import { z } from 'zod';
import { requireDirectory } from '../host-files/given-paths.ts';
import { runStep, type StepContext, seesHost } from '../run/step.ts';
import { absolutePath } from '../spec/fields.ts';
import { parseOptions } from '../spec/parse-options.ts';

const STEP = 'removeMachineId';

const schema = z.object({ root: absolutePath.default('/mnt') });

/** Removes `/etc/machine-id`, which activation made: every machine booted from the image must make its own.
 *  @see machine-id(5). Runs: rm. */
export async function removeMachineId(
  options: { readonly root?: string | undefined } = {},
  context?: StepContext,
): Promise<void> {
  const { root } = parseOptions(STEP, schema, options);
  if (seesHost(context)) await requireDirectory(STEP, root, 'root');
  return runStep(STEP, context, undefined, async (step) => {
    await step.run(['rm', '-f', `${root}/etc/machine-id`]);
  });
}
