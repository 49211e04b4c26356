import { z } from 'zod';
import { listTree, type TreeEntry } from '../filesystem/tree.ts';
import { defineStep, type Step } from '../run/define-step.ts';
import { closureSource, timestamp } from '../spec/fields.ts';

const STEP = 'listClosureFiles';

const schema = z.object({
  closure: closureSource,
  /** Seconds since 1970, for a reproducible image: hard links then do not depend on those in the store. */
  timestamp: timestamp.optional(),
  /** Put store paths at the filesystem's root, which will be mounted on /nix/store; default false. */
  atRoot: z.boolean().default(false),
});

export interface ListClosureFilesOptions extends z.input<typeof schema> {}

/** Lists all files of a closure, for the option `files` of computeDiskSize and makeFilesystem, which otherwise list
 *  them themselves.
 *  Runs: nothing. */
export const listClosureFiles: Step<ListClosureFilesOptions, TreeEntry[]> = defineStep({
  name: STEP,
  options: schema,
  runs: [],
  where: 'host',
  detail: ({ closure }) => `${closure.storePaths.length} store paths`,
  async run(step, { closure, timestamp: time, atRoot }) {
    return listTree(step, { closure: { ...closure, atRoot }, timestamp: time });
  },
});
