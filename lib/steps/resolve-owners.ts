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
  /** The NixOS system that declares the users: a store path, or a link to one. */
  toplevel: path,
  /** The directory of a private store; default: the host's store. */
  store: path.optional(),
  /** The entries passed to stageContents. Entries without user and group are omitted. */
  contents: ownedContents,
});

export interface ResolveOwnersOptions extends z.input<typeof schema> {}

export interface ResolvedOwner extends TreeOwner {
  /** The index of the entry in `contents`. */
  readonly index: number;
}

/** Resolves user and group names to the IDs that the system declares, without running its code. makeFilesystem accepts
 *  the result as `owners`. chownContents looks names up in the installed system instead.
 *  @throws {InvalidOptionsError} for a name that the system does not declare, or declares without an ID, which NixOS
 *  then chooses at activation. Runs: nothing. */
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
          ? `the system declares the ${kind} ${name} without an ID and chooses one at activation; set ${option}`
          : `the system does not declare the ${kind} ${name}`,
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
        hint: `use numeric IDs, or bootLoaderFrom "switch-to-configuration", which looks names up in the activated system (${ids.sources.length === 0 ? 'no list of users was found in the system' : `users were read from ${ids.sources.join(', ')}`})`,
      });
    return owners;
  },
});
