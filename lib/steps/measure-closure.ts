import { lstat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { type StorePathSize, storePathSizes } from '../filesystem/store-path-sizes.ts';
import { queryRegistrations } from '../nix/registration.ts';
import { resolveStorePath } from '../nix/store.ts';
import { defineStep, type Step } from '../run/define-step.ts';
import { InvalidOptionsError } from '../run/errors.ts';
import { path } from '../spec/fields.ts';

const STEP = 'measureClosure';

const schema = z.object({
  /** A system, or any other store path, or a link to one such as ./result. */
  toplevel: path,
  /** The directory of a private store that contains it; default: the host's store. */
  store: path.optional(),
  /** More store paths, with their closures. */
  additionalPaths: z.array(path).default([]),
});

export interface MeasureClosureOptions extends z.input<typeof schema> {}

/** The store paths that an image of a system contains, and their sum. */
export interface ClosureSize {
  readonly toplevel: string;
  readonly sizeBytes: number;
  readonly entries: number;
  /** The largest first. */
  readonly storePaths: readonly StorePathSize[];
}

/** Measures the closure of a system before an image of it is built.
 *  @throws {InvalidOptionsError} when it is not in the store. Runs: nix-store, sqlite3. */
export const measureClosure: Step<MeasureClosureOptions, ClosureSize> = defineStep({
  name: STEP,
  options: schema,
  runs: ['nix-store', 'sqlite3'],
  where: 'host',
  async prepare({ toplevel: given, store, additionalPaths }) {
    const toplevel = await resolveStorePath(STEP, given, 'toplevel', store);
    const additional: string[] = [];
    for (const [index, file] of additionalPaths.entries())
      additional.push(await resolveStorePath(STEP, file, `additionalPaths[${index}]`, store));
    if ((await lstat(join(store ?? '/', toplevel)).catch(() => undefined)) === undefined)
      throw new InvalidOptionsError(STEP, [{ path: 'toplevel', message: `${toplevel} does not exist in the store` }]);
    return { toplevel, additional };
  },
  detail: (_, { toplevel }) => toplevel,
  async run(step, { store }, { toplevel, additional }) {
    const registrations = await queryRegistrations(step, store, [toplevel, ...additional]);
    const sizes = await storePathSizes(
      step,
      store,
      registrations.map((one) => one.path),
    );
    const sum = (of: (one: StorePathSize) => number): number => sizes.reduce((all, one) => all + of(one), 0);
    return {
      ...{ toplevel, storePaths: sizes },
      sizeBytes: sum(({ sizeBytes }) => sizeBytes),
      entries: sum(({ entries }) => entries),
    };
  },
});
