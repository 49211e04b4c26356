import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { requireDirectory, requireFile } from '../host-files/given-paths.ts';
import { defineStep, type Step } from '../run/define-step.ts';
import { InvalidOptionsError, UnexpectedStateError } from '../run/errors.ts';
import { absolutePath, path } from '../spec/fields.ts';

const STEP = 'writeConfigFile';

const schema = z.object({
  /** The root: mounted, as the executor sees it, or staged on this host; default "/mnt". */
  root: absolutePath.default('/mnt'),
  /** A file on this host. */
  configFile: path,
});

export interface WriteConfigFileOptions extends z.input<typeof schema> {}

/** Writes `/etc/nixos/configuration.nix` with mode 0644.
 *  @throws {InvalidOptionsError} when the file cannot be read. Runs: chmod, mkdir, realpath, tee, test. */
export const writeConfigFile: Step<WriteConfigFileOptions, { readonly path: string }> = defineStep({
  name: STEP,
  options: schema,
  runs: ['chmod', 'mkdir', 'realpath', 'tee', 'test'],
  where: 'anywhere',
  async prepare({ root, configFile }, { onHost }) {
    await requireFile(STEP, configFile, 'configFile');
    if (onHost) await requireDirectory(STEP, root, 'root');
    return readFile(configFile).catch((cause: unknown) => {
      throw new InvalidOptionsError(STEP, [{ path: 'configFile', message: `${configFile} cannot be read` }], { cause });
    });
  },
  detail: ({ configFile }) => configFile,
  async run(step, { root }, text) {
    const target = `${root}/etc/nixos/configuration.nix`;
    // -m applies only to the last directory, and only if it is created.
    await step.run(['mkdir', '-p', `${root}/etc`]);
    await step.run(['mkdir', '-p', '-m', '0755', `${root}/etc/nixos`]);
    // A symbolic link from contents must not lead out of the root, where it could point to a file of this host.
    const directory = await step.run(['realpath', root, `${root}/etc/nixos`]);
    const [realRoot, realDirectory] = directory.stdout.toString('utf8').split('\n');
    const isLink = (await step.tryRun(['test', '-L', target], { answers: [1] })).exitCode === 0;
    if (isLink || realDirectory !== `${realRoot}/etc/nixos`)
      throw new UnexpectedStateError(STEP, `a symbolic link leads ${target} elsewhere`, {
        expected: `${realRoot}/etc/nixos`,
        found: realDirectory ?? 'nothing',
      });
    await step.run(['tee', target], { input: text, what: `cannot write ${target}` });
    await step.run(['chmod', '644', target]);
    return { path: '/etc/nixos/configuration.nix' };
  },
});
