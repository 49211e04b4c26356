import { z } from 'zod';
import { type Closure, listTree, type TreeEntry } from '../filesystem/tree.ts';
import { runStep, type StepContext } from '../run/step.ts';
import { closureSource, timestamp } from '../spec/fields.ts';
import { parseOptions } from '../spec/parse-options.ts';

const STEP = 'listClosure';

const schema = z.object({
  closure: closureSource,
  timestamp: timestamp.optional(),
  atRoot: z.boolean().default(false),
});

export interface ListClosureOptions {
  readonly closure: Closure;
  /** Seconds since 1970: for a reproducible image, in which which files are hard links does not depend on the store. */
  readonly timestamp?: number | undefined;
  /** Store paths stand at the filesystem's root, which is then to be mounted on /nix/store; default false. */
  readonly atRoot?: boolean | undefined;
}

/** Lists every entry of a closure once, for computeDiskSize and makeFilesystem (`entries`), which else look for themselves.
 *  Runs: nothing. */
export async function listClosure(options: ListClosureOptions, context?: StepContext): Promise<TreeEntry[]> {
  const { closure, timestamp: time, atRoot } = parseOptions(STEP, schema, options);
  return runStep(STEP, context, `${closure.storePaths.length} store paths`, async (step) => {
    return listTree(step, { closure: { ...closure, atRoot }, timestamp: time });
  });
}
