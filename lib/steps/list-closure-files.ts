import { z } from 'zod';
import { listTree, type TreeEntry } from '../filesystem/tree.ts';
import { defineStep, type Step } from '../run/define-step.ts';
import { closureSource, timestamp } from '../spec/fields.ts';

const STEP = 'listClosureFiles';

const schema = z.object({
  closure: closureSource,
  /** Seconds since 1970: for a reproducible image, in which which files are hard links does not depend on the store. */
  timestamp: timestamp.optional(),
  /** Store paths stand at the filesystem's root, which is then to be mounted on /nix/store; default false. */
  atRoot: z.boolean().default(false),
});

export interface ListClosureFilesOptions extends z.input<typeof schema> {}

/** Lists every entry of a closure once, for computeDiskSize and makeFilesystem (`entries`), which else look for themselves.
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
