import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import {
  cacheDirectory,
  cachedDirectory,
  packageFile,
  readCachedJson,
  writeCachedJson,
} from '../harness/cache-directory.ts';
import type { Architecture } from '../harness/qemu/architecture.ts';
import { currentKernel, downloadPackages, PRIVATE_NIX, runCommand } from './debian-packages.ts';

/** The demo systems: they have the structure of a NixOS system, and are built by Nix from Debian packages. */
export interface DemoSystems {
  /** The private store that contains them, for installSystem's `store`. */
  readonly store: string;
  /** Store paths by name: `demo-grub-hybrid`, `tiny-systemd-boot` … */
  readonly systems: Readonly<Record<string, string>>;
}

const STEP = 'demo system';
const resultSchema = z.record(z.string(), z.string());

/** Builds the demo systems into the cache, unless they exist, without root and without the host's /nix.
 *  Runs: apt-get, apt-cache, nix-build. */
export async function prepareDemo(
  say: (line: string) => void = () => {},
  architecture: Architecture = 'x86_64',
): Promise<DemoSystems> {
  const sources = packageFile('vm-images/demo');
  const key = `${architecture === 'x86_64' ? '' : `${architecture}-`}${await hashDirectory(sources)}`;
  const store = join(cacheDirectory(), 'demo-store');
  const result = join(cacheDirectory(), `demo-${key}.json`);
  const known = await readCachedJson(result, resultSchema);
  if (known !== undefined) return { store, systems: known };

  say('downloading the packages of the demo system');
  const inputs = await demoInputs(sources);
  const foreign = architecture === 'x86_64' ? [] : ['--argstr', 'packages', join(await foreignPackages(), 'debs')];
  say('building the demo systems with Nix');
  await mkdir(store, { recursive: true });
  const built = await runCommand(
    STEP,
    [
      'nix-build',
      '--store',
      store,
      '--no-out-link',
      '--argstr',
      'inputs',
      inputs,
      ...foreign,
      '--attr',
      'all',
      join(sources, 'default.nix'),
    ],
    { env: PRIVATE_NIX },
  );
  const links = join(store, built.trim());
  const systems: Record<string, string> = {};
  for (const name of await readdir(links)) systems[name] = await readlink(join(links, name));
  await writeCachedJson(result, systems);
  return { store, systems };
}

/** The directory of packages from which Nix builds the demo systems. */
export async function demoInputs(sources = packageFile('vm-images/demo')): Promise<string> {
  const lists = await Promise.all(
    ['packages.txt', 'excluded-packages.txt'].map((name) => readFile(join(sources, name), 'utf8')),
  );
  const [wanted = [], excluded = []] = lists.map((text) => text.split('\n').filter((line) => line !== ''));
  const kernel = await currentKernel('linux-image-cloud-amd64');
  const key = createHash('sha256').update(lists.join()).update(kernel).digest('hex').slice(0, 16);
  return cachedDirectory(`demo-inputs-${key}`, (work) => downloadPackages(work, { wanted, excluded, alone: [kernel] }));
}

/** The directory of packages for the tiny system for aarch64. */
async function foreignPackages(): Promise<string> {
  const kernel = await currentKernel('linux-image-cloud-arm64', 'arm64');
  return cachedDirectory(`demo-inputs-arm64-${kernel}`, (work) =>
    downloadPackages(work, { alone: [kernel, 'busybox-static', 'systemd-boot-efi'], architecture: 'arm64' }),
  );
}

async function hashDirectory(directory: string): Promise<string> {
  const hash = createHash('sha256');
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  for (const file of entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort())
    hash.update(`${file.slice(directory.length)}\0`).update(await readFile(file));
  return hash.digest('hex').slice(0, 16);
}
