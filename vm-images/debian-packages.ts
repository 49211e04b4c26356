import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { HarnessError } from '../harness/errors.ts';
import { makePrivateDirectory } from '../lib/host-files/private-output.ts';
import type { RunOptions } from '../lib/run/executor.ts';
import { localExecutor } from '../lib/run/local-executor.ts';
import { commandFailure } from '../lib/run/step.ts';
import { requireTool } from '../lib/run/tools.ts';

/** Debian's names of foreign architectures. */
export type DebianArchitecture = 'arm64';

/** Downloads the inputs of builders.nix into the directory `work`: `wanted` packages with their dependencies in `debs`,
 *  except those that match a pattern of `excluded` (`perl*`), and a static busybox in `bin`. Packages in `alone` come
 *  without their dependencies.
 *  Runs: apt-get. */
export async function downloadPackages(
  work: string,
  {
    wanted = [],
    excluded = [],
    alone = [],
    architecture,
  }: {
    readonly wanted?: readonly string[];
    readonly excluded?: readonly string[];
    readonly alone?: readonly string[];
    readonly architecture?: DebianArchitecture;
  },
): Promise<void> {
  const apt = join(work, 'apt');
  const archives = join(apt, 'archives');
  await using lists = await packageLists(architecture);
  for (const directory of [join(archives, 'partial'), join(work, 'bin'), join(work, 'debs')])
    await mkdir(directory, { recursive: true });
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
    ...lists.options,
  };
  const given = Object.entries(options).flatMap(([name, value]) => ['-o', `${name}=${value}`]);
  if (wanted.length > 0)
    await runCommand('packages', ['apt-get', ...given, '--yes', '--quiet', '--download-only', 'install', ...wanted]);
  for (const name of alone) await runCommand('packages', ['apt-get', ...given, 'download', name], { cwd: archives });
  const patterns = excluded.map(
    (pattern) => new RegExp(`^${pattern.replace(/[.+]/g, '\\$&').replaceAll('*', '[^_]*')}_`),
  );
  // Nix does not allow `%` and `~` in the name of a store path.
  for (const file of await readdir(archives))
    if (file.endsWith('.deb') && !patterns.some((pattern) => pattern.test(file)))
      await rename(join(archives, file), join(work, 'debs', file.replace(/[^A-Za-z0-9._+-]/g, '-')));
  await runCommand('packages', ['cp', await requireTool('packages', 'busybox'), join(work, 'bin/busybox')]);
  await rm(apt, { recursive: true });
}

/** The kernel package on which a metapackage depends: `linux-image-6.1.0-9-cloud-amd64`. */
export async function currentKernel(name: string, architecture?: DebianArchitecture): Promise<string> {
  await using lists = await packageLists(architecture);
  const options = Object.entries(lists.options).flatMap(([option, value]) => ['-o', `${option}=${value}`]);
  const depends = await runCommand('packages', ['apt-cache', ...options, 'depends', name]);
  const kernel = /Depends: (linux-image-\S+)/.exec(depends)?.[1];
  if (kernel === undefined)
    throw new HarnessError(`${name} is not in the package lists`, { hint: 'run apt-get update as root' });
  return kernel.replace(/:.*/, '');
}

/** apt options for the package lists: this host's, or lists that are downloaded for another architecture. */
async function packageLists(
  architecture: DebianArchitecture | undefined,
): Promise<{ readonly options: Readonly<Record<string, string>> } & AsyncDisposable> {
  if (architecture === undefined) return { options: {}, [Symbol.asyncDispose]: async () => {} };
  const directory = await makePrivateDirectory(tmpdir());
  await mkdir(join(directory.path, 'lists/partial'), { recursive: true });
  const options = {
    'APT::Architecture': architecture,
    'APT::Architectures': architecture,
    'APT::Sandbox::User': '',
    'Debug::NoLocking': 'true',
    'Dir::State::lists': join(directory.path, 'lists'),
    'Dir::Cache': directory.path,
  };
  await runCommand('packages', [
    'apt-get',
    ...Object.entries(options).flatMap(([name, value]) => ['-o', `${name}=${value}`]),
    'update',
  ]);
  return { options, [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose]() };
}

/** The environment for a private Nix store: no substituters, no build users, no configuration of the host. */
export const PRIVATE_NIX = {
  NIX_CONFIG: 'substitute = false\nsubstituters =\nbuild-users-group =\nsandbox = true\n',
  NIX_REMOTE: '',
  NIX_PATH: '',
};

/** Runs a command that must succeed. @returns its standard output. */
export async function runCommand(step: string, argv: readonly string[], options: RunOptions = {}): Promise<string> {
  const result = await localExecutor.run(argv, options);
  if (result.exitCode !== 0) throw commandFailure(step, localExecutor, result);
  return result.stdout.toString('utf8');
}
