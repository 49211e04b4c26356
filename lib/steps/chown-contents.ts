import { join, resolve } from 'node:path';
import { z } from 'zod';
import { defineStep, type Step, type WithOldNames } from '../run/define-step.ts';
import { absolutePath, ownedContents, path } from '../spec/fields.ts';
import { enterRoot, nixosEnter } from './nixos-enter.ts';

const STEP = 'chownContents';

const schema = z.object({
  /** The mounted root, as the executor sees it; default "/mnt". */
  mountPoint: absolutePath.default('/mnt'),
  /** The entries passed to stageContents. Entries without user and group keep their owners. */
  contents: ownedContents,
  /** Run the system's activation first; default true. Not needed after switchToConfiguration. */
  activate: z.boolean().default(true),
  nixosEnterTool: path.optional(),
});

const OLD_NAMES = { root: 'mountPoint' } as const;

export type ChownContentsOptions = WithOldNames<z.input<typeof schema>, typeof OLD_NAMES>;

export interface GivenAway {
  /** How many entries of `contents` have an owner. */
  readonly count: number;
  /** @deprecated Use `count`. */
  readonly entries: number;
}

/** The kernel clears the setuid and setgid bits of a file whose owner changes, so the files that have them are listed
 *  first. The lists stay with the executor, because names need not be UTF-8. @see chown(2) */
const NOTE_BITS = `
noted=$(mktemp -d)
find "$1" -type f -perm -4000 -print0 > "$noted/setuid"
find "$1" -type f -perm -2000 -print0 > "$noted/setgid"
printf %s "$noted"`;

const RESTORE_BITS = `
xargs -0 -r chmod u+s < "$1/setuid"
xargs -0 -r chmod g+s < "$1/setgid"`;

/** Sets the owners of staged contents, by the user and group names of the installed system. Modes stay the same.
 *  @returns how many entries got an owner.
 *  @throws {ToolFailedError} when the system has no such user or group.
 *  @see chown(1). Runs: chmod, chroot, find, mkdir, mktemp, mount, rm, sh, test, unshare, xargs. */
export const chownContents: Step<ChownContentsOptions, GivenAway> = defineStep({
  name: STEP,
  options: schema,
  oldNames: OLD_NAMES,
  runs: [...nixosEnter.runs, 'chmod', 'find', 'mktemp', 'rm', 'xargs'],
  where: 'anywhere',
  detail: ({ contents }) => `${contents.filter(isOwned).length} entries`,
  async run(step, { mountPoint, contents, activate, nixosEnterTool }) {
    const owned = contents.filter(isOwned);
    for (const [index, entry] of owned.entries()) {
      const owner = `${entry.user}:${entry.group}`;
      const target = resolve('/', entry.target);
      const noted = await step.run(['sh', '-euc', NOTE_BITS, 'sh', join(mountPoint, target)], {
        what: `cannot read ${target} in the installed system`,
      });
      const bits = noted.stdout.toString('utf8');
      try {
        await enterRoot(
          step,
          {
            mountPoint,
            command: ['chown', '-R', owner, '--', target],
            env: {},
            activate: activate && index === 0,
            nixosEnterTool,
          },
          `cannot change the owner of ${target} to ${owner} in the installed system`,
        );
        await step.run(['sh', '-euc', RESTORE_BITS, 'sh', bits], { what: `cannot restore the modes below ${target}` });
      } finally {
        await step.run(['rm', '-r', bits]);
      }
    }
    return { count: owned.length, entries: owned.length };
  },
});

function isOwned({
  user,
  group,
}: {
  readonly user?: string | undefined;
  readonly group?: string | undefined;
}): boolean {
  return user !== undefined && group !== undefined;
}
