import { resolve } from 'node:path';
import { z } from 'zod';
import { absolutePath, ownerName, path } from '../spec/fields.ts';
import { parseOptions } from '../spec/parse-options.ts';
import { runStep, type StepContext } from '../step.ts';
import { enterRoot } from './nixos-enter.ts';

const STEP = 'chownContents';

const schema = z.object({
  root: absolutePath.default('/mnt'),
  contents: z.array(z.object({ target: path, user: ownerName.optional(), group: ownerName.optional() })),
  activate: z.boolean().default(true),
  nixosEnterTool: path.optional(),
});

export interface ChownContentsOptions {
  /** The mounted root, as the executor sees it; default "/mnt". */
  readonly root?: string | undefined;
  /** The entries given to stageContents; those without user and group are left as they are. */
  readonly contents: readonly {
    readonly target: string;
    readonly user?: string | undefined;
    readonly group?: string | undefined;
  }[];
  /** Run the system's activation first; default true. Not needed after switchToConfiguration. */
  readonly activate?: boolean | undefined;
  readonly nixosEnterTool?: string | undefined;
}

/** Gives staged contents to users and groups by the names they have in the installed system.
 *  @returns how many entries were given away.
 *  @throws {ToolFailedError} when the system has no such user or group.
 *  @see chown(1). Runs: what nixosEnter runs, and the system's own chown. */
export async function chownContents(
  options: ChownContentsOptions,
  context?: StepContext,
): Promise<{ readonly entries: number }> {
  const { root, contents, activate, nixosEnterTool } = parseOptions(STEP, schema, options);
  const owned = contents.filter((entry) => entry.user !== undefined && entry.group !== undefined);
  return runStep(STEP, context, `${owned.length} entries`, async (step) => {
    for (const [index, entry] of owned.entries()) {
      const owner = `${entry.user}:${entry.group}`;
      const target = resolve('/', entry.target);
      await enterRoot(
        step,
        { root, command: ['chown', '-R', owner, '--', target], activate: activate && index === 0, nixosEnterTool },
        `cannot give ${target} to ${owner} in the installed system`,
      );
    }
    return { entries: owned.length };
  });
}
