import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, readlink, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { cachedFolder, cacheFolder, packageFile } from '../harness/cache-folder.ts';
import { HarnessError } from '../harness/errors.ts';
import type { RunOptions } from '../lib/executor.ts';
import { localExecutor } from '../lib/local-executor.ts';
import { commandFailure } from '../lib/step.ts';
import { requireTool } from '../lib/tools.ts';

/** The demo systems: NixOS-shaped, built by real Nix from the distribution's packages. */
export interface DemoSystems {
  /** The private store they are in, for installSystem's `store`. */
  readonly store: string;
  /** Store paths by name: `demo-grub-hybrid`, `tiny-systemd-boot` … */
  readonly systems: Readonly<Record<string, string>>;
}

const STEP = 'demo system';
const resultSchema = z.record(z.string(), z.string());

/** Builds the demo systems into the cache, if they are not there: no root, and nothing of the host's /nix.
 *  Runs: apt-get, apt-cache, nix-build. */
export async function prepareDemo(say: (line: string) => void = () => {}): Promise<DemoSystems> {
  const sources = packageFile('vm-images/demo');
  const key = await hashFolder(sources);
  const store = join(cacheFolder(), 'demo-store');
  const result = join(cacheFolder(), `demo-${key}.json`);
  const known = await readFile(result, 'utf8').catch(() => undefined);
  if (known !== undefined) return { store, systems: resultSchema.parse(JSON.parse(known)) };

  say('downloading the packages of the demo system');
  const inputs = await demoInputs(sources);
  say('building the demo systems with Nix');
  await mkdir(store, { recursive: true });
  const built = await run(
    [
      'nix-build',
      '--store',
      store,
      '--no-out-link',
      '--argstr',
      'inputs',
      inputs,
      '--attr',
      'all',
      join(sources, 'default.nix'),
    ],
    {
      env: {
        NIX_CONFIG: 'substitute = false\nsubstituters =\nbuild-users-group =\nsandbox = true\n',
        NIX_REMOTE: '',
        NIX_PATH: '',
      },
    },
  );
  const links = join(store, built.trim());
  const systems: Record<string, string> = {};
  for (const name of await readdir(links)) systems[name] = await readlink(join(links, name));
  await writeFile(`${result}.${process.pid}`, JSON.stringify(systems, undefined, 1));
  await rename(`${result}.${process.pid}`, result);
  return { store, systems };
}

/** The packages with all they depend on, and busybox, as Nix gets them. */
async function demoInputs(sources: string): Promise<string> {
  const lists = await Promise.all(
    ['packages.txt', 'excluded-packages.txt'].map((name) => readFile(join(sources, name), 'utf8')),
  );
  const [wanted = [], excluded = []] = lists.map((text) => text.split('\n').filter((line) => line !== ''));
  const depends = await run(['apt-cache', 'depends', 'linux-image-cloud-amd64']);
  const kernel = /Depends: (linux-image-\S+)/.exec(depends)?.[1];
  if (kernel === undefined)
    throw new HarnessError(`${STEP}: linux-image-cloud-amd64 is not in the package lists`, { hint: 'apt-get update' });
  const key = createHash('sha256').update(lists.join()).update(kernel).digest('hex').slice(0, 16);
  return cachedFolder(`demo-inputs-${key}`, async (work) => {
    const apt = join(work, 'apt');
    for (const folder of ['archives/partial', 'bin', 'debs'])
      await mkdir(join(folder === 'archives/partial' ? apt : work, folder), { recursive: true });
    await writeFile(join(apt, 'status'), '');
    // apt resolves against an empty system, with the host's package lists but none of its state.
    const options = {
      'Dir::State::status': join(apt, 'status'),
      'Dir::State::extended_states': join(apt, 'extended_states'),
      'Dir::Cache': apt,
      'Dir::Cache::archives': join(apt, 'archives'),
      'Dir::Log': apt,
      'APT::Sandbox::User': '',
      'Debug::NoLocking': 'true',
      'APT::Install-Recommends': 'false',
    };
    await run([
      'apt-get',
      ...Object.entries(options).flatMap(([name, value]) => ['-o', `${name}=${value}`]),
      '--yes',
      '--quiet',
      '--download-only',
      'install',
      ...wanted,
    ]);
    await run(['apt-get', 'download', kernel], { cwd: join(apt, 'archives') });
    const patterns = excluded.map(
      (pattern) => new RegExp(`^${pattern.replace(/[.+]/g, '\\$&').replaceAll('*', '[^_]*')}_`),
    );
    // A package's name in a store path: Nix takes neither `%` nor `~` in one.
    for (const file of await readdir(join(apt, 'archives')))
      if (file.endsWith('.deb') && !patterns.some((pattern) => pattern.test(file)))
        await rename(join(apt, 'archives', file), join(work, 'debs', file.replace(/[^A-Za-z0-9._+-]/g, '-')));
    await run(['cp', await requireTool(STEP, 'busybox'), join(work, 'bin/busybox')]);
    await rm(apt, { recursive: true });
  });
}

async function hashFolder(folder: string): Promise<string> {
  const hash = createHash('sha256');
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  for (const file of entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort())
    hash.update(`${file.slice(folder.length)}\0`).update(await readFile(file));
  return hash.digest('hex').slice(0, 16);
}

async function run(argv: readonly string[], options: RunOptions = {}): Promise<string> {
  const result = await localExecutor.run(argv, options);
  if (result.exitCode !== 0) throw commandFailure(STEP, localExecutor, result);
  return result.stdout.toString('utf8');
}
