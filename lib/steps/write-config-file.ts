import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { requireDirectory, requireFile } from '../host-files/given-paths.ts';
import { InvalidOptionsError, UnexpectedStateError } from '../run/errors.ts';
import { runStep, type StepContext, seesHost } from '../run/step.ts';
import { absolutePath, path } from '../spec/fields.ts';
import { parseOptions } from '../spec/parse-options.ts';

const STEP = 'writeConfigFile';

const schema = z.object({ root: absolutePath.default('/mnt'), configFile: path });

export interface WriteConfigFileOptions {
  /** The mounted root, as the executor sees it; default "/mnt". */
  readonly root?: string | undefined;
  /** A file on this host. */
  readonly configFile: string;
}

/** Writes `/etc/nixos/configuration.nix`, mode 0644.
 *  @throws {InvalidOptionsError} when the file cannot be read. Runs: mkdir, tee, chmod. */
export async function writeConfigFile(
  options: WriteConfigFileOptions,
  context?: StepContext,
): Promise<{ readonly path: string }> {
  const { root, configFile } = parseOptions(STEP, schema, options);
  await requireFile(STEP, configFile, 'configFile');
  if (seesHost(context)) await requireDirectory(STEP, root, 'root');
  const text = await readFile(configFile).catch((cause: unknown) => {
    throw new InvalidOptionsError(STEP, [{ path: 'configFile', message: `${configFile} cannot be read` }], { cause });
  });
  return runStep(STEP, context, configFile, async (step) => {
    const target = `${root}/etc/nixos/configuration.nix`;
    // -m holds for the last folder, and only when it is made.
    await step.run(['mkdir', '-p', `${root}/etc`]);
    await step.run(['mkdir', '-p', '-m', '0755', `${root}/etc/nixos`]);
    // A link from contents must not lead out of the root, least of all on this host.
    const folder = await step.run(['realpath', root, `${root}/etc/nixos`]);
    const [realRoot, realFolder] = folder.stdout.toString('utf8').split('\n');
    const isLink = (await step.tryRun(['test', '-L', target], { answers: [1] })).exitCode === 0;
    if (isLink || realFolder !== `${realRoot}/etc/nixos`)
      throw new UnexpectedStateError(STEP, `${target} leads elsewhere through a symbolic link`, {
        expected: `${realRoot}/etc/nixos`,
        found: realFolder ?? 'nothing',
      });
    await step.run(['tee', target], { input: text, what: `cannot write ${target}` });
    await step.run(['chmod', '644', target]);
    return { path: '/etc/nixos/configuration.nix' };
  });
}
