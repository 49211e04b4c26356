import { cp, mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { onTestFinished } from 'vitest';
import { packageFile } from '../../../harness/cache-directory.ts';
import { removeTree } from '../../../lib/host-files/private-output.ts';
import { PRIVATE_NIX } from '../../../vm-images/debian-packages.ts';
import { tempDirectory } from '../temp-directory.ts';

/** Empty directories in place of the packages' inputs: enough for evaluation, but not for a build. */
async function noInputs(): Promise<string> {
  const directory = await tempDirectory();
  for (const name of ['debs', 'bin', 'node', 'npm', 'include']) await mkdir(join(directory, name));
  return directory;
}

async function environment(): Promise<Record<string, string>> {
  const inputs = await noInputs();
  return {
    ...{ ...PRIVATE_NIX, PROGRAMS: inputs, DEMO: inputs, HOME: inputs },
    NIX_PATH: `nixpkgs=${packageFile('test/helpers/nix/nixpkgs')}`,
  };
}

class EvaluationError extends Error {}

/** Evaluates an expression, in which `project` is the project's directory and `pkgs` the distribution instead of nixpkgs.
 *  @param store a directory for the store, which is then written to as in a build.
 *  @throws {EvaluationError} with Nix's message. Runs: nix-instantiate. */
export async function evaluate(expression: string, store?: string): Promise<unknown> {
  const text = `let project = ${packageFile('.')}; pkgs = import <nixpkgs> { }; inherit (pkgs) lib; in ${expression}`;
  const { exitCode, stdout, stderr } = await execa(
    'nix-instantiate',
    [
      ...['--eval', '--strict', '--json', ...(store === undefined ? [] : ['--read-write-mode'])],
      ...['--store', store ?? (await tempDirectory()), '-E', text],
    ],
    { env: await environment(), reject: false },
  );
  if (exitCode !== 0) throw new EvaluationError(stderr);
  return JSON.parse(stdout);
}

/** Runs `nix` on the project's flake, with the distribution instead of its input. @returns its output.
 *  @param argv the arguments, in which FLAKE is the project's flake, or a user's flake with the given text. Runs: nix. */
export async function flake(argv: readonly string[], user?: string): Promise<string> {
  // A flake reference is a URL, which cannot contain a name such as tempDirectory's.
  const directory = await mkdtemp(join(tmpdir(), 'ndi-flake-'));
  onTestFinished(() => removeTree(directory));
  const [project, nixpkgs, store] = ['project', 'nixpkgs', 'store'].map((name) => join(directory, name)) as [
    string,
    string,
    string,
  ];
  for (const name of ['flake.nix', 'nix', 'package.json', 'package-lock.json', 'LICENSE', 'tsconfig.json'])
    await cp(packageFile(name), join(project, name), { recursive: true });
  for (const name of ['cli', 'lib', 'harness', 'vm-images']) await mkdir(join(project, name));
  await mkdir(join(nixpkgs, 'test/helpers'), { recursive: true });
  await mkdir(join(nixpkgs, 'vm-images'), { recursive: true });
  await cp(packageFile('test/helpers/nix/flake.nix'), join(nixpkgs, 'flake.nix'));
  await cp(packageFile('test/helpers/nix'), join(nixpkgs, 'test/helpers/nix'), { recursive: true });
  await cp(packageFile('vm-images/demo'), join(nixpkgs, 'vm-images/demo'), { recursive: true });
  await writeFile(join(directory, 'nix.conf'), 'experimental-features = nix-command flakes\n');
  const own = join(directory, 'user');
  if (user !== undefined) {
    await mkdir(own);
    await writeFile(join(own, 'flake.nix'), user);
  }
  const [command = '', ...rest] = argv.map((word) =>
    word.replace(/^FLAKE/, `path:${user === undefined ? project : own}`),
  );
  const inputs = { nixpkgs, ...(user === undefined ? {} : { 'nixos-disk-image': project }) };
  const overrides = Object.entries(inputs).flatMap(([name, at]) => ['--override-input', name, `path:${at}`]);
  const { exitCode, stdout, stderr } = await execa(
    'nix',
    [command, ...rest, '--impure', '--no-write-lock-file', ...overrides, '--store', store],
    { env: { ...(await environment()), NIX_CONF_DIR: directory }, reject: false },
  );
  if (exitCode !== 0) throw new EvaluationError(stderr);
  return stdout;
}
