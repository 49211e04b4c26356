import { resolve } from 'node:path';
import { z } from 'zod';
import type { TreeOwner } from '../filesystem/tree.ts';
import { resolveStorePath } from '../nix/store.ts';
import { declaredIds } from '../nix/users.ts';
import { defineStep, type Step } from '../run/define-step.ts';
import { InvalidOptionsError, type OptionIssue } from '../run/errors.ts';
import { ownedContents, path } from '../spec/fields.ts';

const STEP = 'resolveOwners';

const schema = z.object({
  /** The NixOS system whose names these are: a store path, or a link to one. */
  toplevel: path,
  /** A private store's directory; default: the host's store. */
  store: path.optional(),
  /** Those without user and group are left out. */
  contents: ownedContents,
});

export interface ResolveOwnersOptions extends z.input<typeof schema> {}

export interface ResolvedOwner extends TreeOwner {
  /** Which of `contents` it is. */
  readonly index: number;
}

/** Finds the numbers behind user and group names in what the system declares, without running it; makeFilesystem takes the
 *  result as `owners`. chownContents asks the installed system itself instead.
 *  @throws {InvalidOptionsError} for a name that the system does not declare, or declares without a number: NixOS then
 *  chooses one when it is activated. Runs: nothing. */
export const resolveOwners: Step<ResolveOwnersOptions, ResolvedOwner[]> = defineStep({
  name: STEP,
  options: schema,
  runs: [],
  where: 'host',
  detail: ({ contents }) => `${contents.filter(({ user }) => user !== undefined).length} entries`,
  async run(_step, { contents, ...system }) {
    const owned = contents.flatMap((entry, index) => (entry.user === undefined ? [] : [{ ...entry, index }]));
    if (owned.length === 0) return [];
    const toplevel = await resolveStorePath(STEP, system.toplevel, 'toplevel', system.store);
    const ids = await declaredIds(system.store ?? '/', toplevel);
    const issues: OptionIssue[] = [];
    const find = (kind: 'user' | 'group', name: string, index: number): number => {
      if (/^\d+$/.test(name)) return Number(name);
      const known = kind === 'user' ? ids.users.has(name) : ids.groups.has(name);
      const id = kind === 'user' ? ids.users.get(name)?.uid : ids.groups.get(name);
      if (id !== undefined) return id;
      const option = kind === 'user' ? `users.users.${name}.uid` : `users.groups.${name}.gid`;
      issues.push({
        path: `contents[${index}].${kind}`,
        message: known
          ? `the system declares the ${kind} ${name} without a number, and chooses one when it is activated; set ${option}`
          : `the system declares no ${kind} ${name}`,
      });
      return 0;
    };
    const owners = owned.map(({ target, user = '0', group = '0', index }) => ({
      index,
      target: resolve('/', target),
      uid: find('user', user, index),
      gid: find('group', group, index),
    }));
    if (issues.length > 0)
      throw new InvalidOptionsError(STEP, issues, {
        hint: `${ids.sources.length === 0 ? 'the system has no list of its users that can be read' : `read: ${ids.sources.join(', ')}`}; numbers are taken as they are, and bootLoaderFrom "switch-to-configuration" asks the activated system`,
      });
    return owners;
  },
});
