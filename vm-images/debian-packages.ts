import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { RunOptions } from '../lib/executor.ts';
import { localExecutor } from '../lib/local-executor.ts';
import { commandFailure } from '../lib/step.ts';
import { requireTool } from '../lib/tools.ts';

/** Inputs of builders.nix, made in the folder `work`: packages of the distribution with all they depend on in `debs`, but
 *  those that match a pattern of `excluded` (`perl*`), and a static busybox in `bin`. `alone` comes without what it depends on.
 *  Runs: apt-get. */
export async function downloadPackages(
  work: string,
  {
    wanted,
    excluded = [],
    alone = [],
  }: { readonly wanted: readonly string[]; readonly excluded?: readonly string[]; readonly alone?: readonly string[] },
): Promise<void> {
  const apt = join(work, 'apt');
  const archives = join(apt, 'archives');
  for (const folder of [join(archives, 'partial'), join(work, 'bin'), join(work, 'debs')])
    await mkdir(folder, { recursive: true });
  await writeFile(join(apt, 'status'), '');
  // apt resolves against an empty system, with the host's package lists but none of its state.
  const options = {
    'Dir::State::status': join(apt, 'status'),
    'Dir::State::extended_states': join(apt, 'extended_states'),
    'Dir::Cache': apt,
    'Dir::Cache::archives': archives,
    'Dir::Log': apt,
    'APT::Sandbox::User': '',
    'Debug::NoLocking': 'true',
    'APT::Install-Recommends': 'false',
  };
  await runCommand('packages', [
    'apt-get',
    ...Object.entries(options).flatMap(([name, value]) => ['-o', `${name}=${value}`]),
    '--yes',
    '--quiet',
    '--download-only',
    'install',
    ...wanted,
  ]);
  for (const name of alone) await runCommand('packages', ['apt-get', 'download', name], { cwd: archives });
  const patterns = excluded.map(
    (pattern) => new RegExp(`^${pattern.replace(/[.+]/g, '\\$&').replaceAll('*', '[^_]*')}_`),
  );
  // A package's name in a store path: Nix takes neither `%` nor `~` in one.
  for (const file of await readdir(archives))
    if (file.endsWith('.deb') && !patterns.some((pattern) => pattern.test(file)))
      await rename(join(archives, file), join(work, 'debs', file.replace(/[^A-Za-z0-9._+-]/g, '-')));
  await runCommand('packages', ['cp', await requireTool('packages', 'busybox'), join(work, 'bin/busybox')]);
  await rm(apt, { recursive: true });
}

/** What a private store is used with: no substituters, no build users, no configuration of the host's. */
export const PRIVATE_NIX = {
  NIX_CONFIG: 'substitute = false\nsubstituters =\nbuild-users-group =\nsandbox = true\n',
  NIX_REMOTE: '',
  NIX_PATH: '',
};

/** Standard output of a command that must succeed. */
export async function runCommand(step: string, argv: readonly string[], options: RunOptions = {}): Promise<string> {
  const result = await localExecutor.run(argv, options);
  if (result.exitCode !== 0) throw commandFailure(step, localExecutor, result);
  return result.stdout.toString('utf8');
}
