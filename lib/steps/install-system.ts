import { chmod, lstat, mkdir, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import type { Closure } from '../filesystem/tree.ts';
import { makeDirectories } from '../host-files/given-paths.ts';
import {
  loadRegistrations,
  parseRegistrations,
  queryRegistrations,
  type Registration,
  runNix,
} from '../nix/registration.ts';
import { resolveStorePath, STORE_PATH, storeUri } from '../nix/store.ts';
import { defineStep, type Step, type WithOldNames } from '../run/define-step.ts';
import { isErrno } from '../run/errno.ts';
import { InvalidOptionsError, UnexpectedStateError } from '../run/errors.ts';
import type { CrossRule } from '../run/parse-options.ts';
import type { StepRunner } from '../run/step.ts';
import { path, timestamp } from '../spec/fields.ts';

const STEP = 'installSystem';

const schema = z.object({
  /** The directory that becomes the image's root. */
  stagedRoot: path,
  /** The NixOS system: a path in the Nix store, or a link to one, such as `./result`. */
  toplevel: path,
  /** The directory of a private store (`nix-build --store DIR`), which contains `nix/store`; default: the host's
   *  store. */
  store: path.optional(),
  /** A `closureInfo` directory (`store-paths`, `registration`), used instead of querying a Nix database. */
  closureInfo: path.optional(),
  /** More store paths to copy, with their closures. */
  additionalPaths: z.array(path).readonly().default([]),
  /** A store path with the channel's sources, which a closureInfo must name; default: no channel. */
  channel: path.optional(),
  /** Copy the store paths into the root; default true. If false, they are only registered there, and makeFilesystem
   *  reads them from their store (`closure`). */
  copyClosure: z.boolean().default(true),
  /** Seconds since 1970: the registration time of every store path. It also makes the database reproducible. */
  timestamp: timestamp.optional(),
});

const OLD_NAMES = { root: 'stagedRoot' } as const;

export type InstallSystemOptions = WithOldNames<z.input<typeof schema>, typeof OLD_NAMES>;

export interface InstalledSystem {
  /** `/nix/store/…` */
  readonly toplevel: string;
  /** The store paths that are now registered in the root, sorted. */
  readonly storePaths: readonly string[];
  /** The store paths with their store, for computeDiskSize, makeFilesystem and the steps that install boot loaders. */
  readonly closure: Closure;
  /** The new generation of the system profile, for the steps that install boot loaders. */
  readonly generation: { readonly number: number; readonly toplevel: string };
  /** The text of `nixos-version`; undefined when the system has none. */
  readonly version: string | undefined;
}

const PROFILES = 'nix/var/nix/profiles';

/** Files that Nix leaves in a root, and creates again when it needs them; `reserved` takes 8 MiB. */
const LEFT_BY_NIX = [
  'nix/store/.links',
  'nix/var/nix/db/big-lock',
  'nix/var/nix/db/reserved',
  'nix/var/nix/gc.lock',
  'nix/var/nix/gcroots/auto',
  'nix/var/nix/gcroots/per-user',
  'nix/var/nix/temproots',
];

/** The standard directories of a NixOS root, and their modes. */
const DIRECTORIES: readonly (readonly [string, number])[] = [
  ['boot', 0o755],
  ['dev', 0o755],
  ['etc', 0o755],
  ['home', 0o755],
  ['nix', 0o755],
  ['nix/store', 0o1775],
  ['nix/var', 0o755],
  ['nix/var/nix', 0o755],
  ['nix/var/nix/gcroots', 0o755],
  ['nix/var/nix/profiles', 0o755],
  ['nix/var/nix/profiles/per-user', 0o755],
  ['nix/var/nix/profiles/per-user/root', 0o755],
  ['proc', 0o755],
  ['root', 0o700],
  ['run', 0o755],
  ['sys', 0o755],
  ['tmp', 0o1777],
  ['var', 0o755],
];

const storeRule: CrossRule<z.output<typeof schema>> = ({ closureInfo, additionalPaths }) =>
  closureInfo !== undefined && (additionalPaths?.length ?? 0) > 0
    ? [
        {
          path: 'closureInfo',
          message: 'contradicts additionalPaths: it already names all store paths; add them to its rootPaths',
        },
      ]
    : [];

/** Installs a system into a directory, like `nixos-install --no-bootloader --no-root-passwd --substituters ""` but
 *  without root: copies the closure of `toplevel` (unless `copyClosure` is false), registers it in a Nix database, and
 *  makes a generation of the `system` profile, the standard directories with their modes, `/etc/NIXOS`, and the channel
 *  if one is given.
 *  @throws {InvalidOptionsError} when `toplevel` is not in the store, or is not a NixOS system.
 *  @throws {NoSpaceError} when the host's disk is full.
 *  @see nixos-install(8), nix-env(1) --set, nix-store(1) --load-db. Runs: nix, nix-store, rsync, sqlite3. */
export const installSystem: Step<InstallSystemOptions, InstalledSystem> = defineStep({
  name: STEP,
  options: schema,
  oldNames: OLD_NAMES,
  rules: [storeRule],
  runs: ['nix', 'nix-store', 'rsync', 'sqlite3'],
  where: 'host',
  async prepare(parsed) {
    const { store } = parsed;
    const toplevel = await resolveStorePath(STEP, parsed.toplevel, 'toplevel', store);
    const sourceRoot = store === undefined ? '/' : resolve(store);
    await checkIsSystem(join(sourceRoot, toplevel), toplevel);
    const additional = await Promise.all(
      parsed.additionalPaths.map((file, index) => resolveStorePath(STEP, file, `additionalPaths[${index}]`, store)),
    );
    const channel =
      parsed.channel === undefined ? undefined : await resolveStorePath(STEP, parsed.channel, 'channel', store);
    return { toplevel, sourceRoot, additional, channel };
  },
  detail: (_, { toplevel }) => toplevel,
  async run(step, parsed, { toplevel, sourceRoot, additional, channel }) {
    const { store } = parsed;
    const root = resolve(parsed.stagedRoot);
    await makeStandardDirectories(root);
    await refuseLinks(root);
    const wanted = [toplevel, ...additional, ...(channel === undefined ? [] : [channel])];
    const registrations =
      parsed.closureInfo === undefined
        ? await queryRegistrations(step, store, wanted)
        : await readClosureInfo(parsed.closureInfo, wanted);
    const storePaths = registrations.map(({ path }) => path).sort();
    await checkPresent(sourceRoot, storePaths);
    if (parsed.copyClosure && parsed.closureInfo === undefined)
      await runNix(step, copyClosureArgs(root, wanted, store), { what: `cannot copy the closure of ${toplevel}` });
    else {
      if (parsed.copyClosure) await copyStorePaths(step, root, sourceRoot, storePaths);
      // Derivers are omitted in a reproducible image, because they depend on the store.
      const registered =
        parsed.timestamp === undefined ? registrations : registrations.map((record) => ({ ...record, deriver: '' }));
      await loadRegistrations(step, root, registered);
    }
    const number = await addGeneration(join(root, PROFILES), 'system', toplevel);
    if (channel !== undefined) await installChannel(root, channel);
    await writeFile(join(root, 'etc/NIXOS'), '', { flag: 'wx' }).catch((error: unknown) => {
      if (!isErrno(error, 'EEXIST')) throw error;
    });
    // Nix makes a directory for this host's user, who does not exist in the image.
    for (const user of await readdir(join(root, PROFILES, 'per-user')))
      if (user !== 'root') await rm(join(root, PROFILES, 'per-user', user), { recursive: true });
    for (const left of LEFT_BY_NIX) await rm(join(root, left), { recursive: true, force: true });
    if (parsed.timestamp !== undefined) await fixDatabase(step, root, parsed.timestamp);
    // Independent of the umask.
    await chmod(join(root, 'etc/NIXOS'), 0o644);
    for (const [directory, mode] of DIRECTORIES) await chmod(join(root, directory), mode);
    await chmodTree(join(root, 'nix/var/nix'));
    const version = await readFile(join(sourceRoot, toplevel, 'nixos-version'), 'utf8').catch(() => undefined);
    const closure = { store, storePaths };
    return { toplevel, storePaths, closure, generation: { number, toplevel }, version: version?.trim() };
  },
});

/** Arguments that copy closures from a store to the store in `root`. */
export function copyClosureArgs(root: string, storePaths: readonly string[], store: string | undefined): string[] {
  const from = store === undefined ? [] : ['--from', storeUri(store)];
  return [
    'nix',
    '--extra-experimental-features',
    'nix-command',
    'copy',
    '--no-check-sigs',
    ...from,
    '--to',
    storeUri(root),
    ...storePaths,
  ];
}

async function readClosureInfo(closureInfo: string, wanted: readonly string[]): Promise<Registration[]> {
  const [listed = '', registration = ''] = await Promise.all(
    ['store-paths', 'registration'].map((name) =>
      readFile(join(closureInfo, name), 'utf8').catch((cause: unknown) => {
        throw new InvalidOptionsError(
          STEP,
          [
            {
              path: 'closureInfo',
              message: `${closureInfo} has no file ${name}; expected the output of nixpkgs' closureInfo`,
            },
          ],
          { cause },
        );
      }),
    ),
  );
  const storePaths = new Set(listed.split('\n').filter((line) => line !== ''));
  const records = parseRegistrations(STEP, registration);
  const registered = new Set(records.map(({ path }) => path));
  const problems = [
    ...[...storePaths]
      .filter((storePath) => !STORE_PATH.test(storePath))
      .map((storePath) => `store-paths names ${JSON.stringify(storePath)}, which is not a store path`),
    ...[...storePaths]
      .filter((storePath) => STORE_PATH.test(storePath) && !registered.has(storePath))
      .map((storePath) => `store-paths names ${storePath}, which is not in registration`),
    ...[...registered]
      .filter((storePath) => !storePaths.has(storePath))
      .map((storePath) => `registration names ${storePath}, which is not in store-paths`),
    ...wanted
      .filter((storePath) => !storePaths.has(storePath))
      .map((storePath) => `${closureInfo} does not contain ${storePath}`),
  ];
  if (problems.length > 0)
    throw new InvalidOptionsError(
      STEP,
      problems.map((message) => ({ path: 'closureInfo', message })),
    );
  return records;
}

async function checkPresent(sourceRoot: string, storePaths: readonly string[]): Promise<void> {
  const missing = [];
  for (const storePath of storePaths)
    if ((await lstat(join(sourceRoot, storePath)).catch(() => undefined)) === undefined) missing.push(storePath);
  if (missing.length > 0)
    throw new InvalidOptionsError(
      STEP,
      missing.map((storePath) => ({
        path: 'toplevel',
        message: `its closure contains ${storePath}, which does not exist`,
      })),
    );
}

async function copyStorePaths(
  step: StepRunner,
  root: string,
  sourceRoot: string,
  storePaths: readonly string[],
): Promise<void> {
  const sources = storePaths.map((storePath) => join(sourceRoot, storePath));
  await step.run(
    ['rsync', '--archive', '--hard-links', '--no-owner', '--no-group', '--', ...sources, `${join(root, 'nix/store')}/`],
    { what: 'cannot copy the closure' },
  );
}

/** Makes a store path the current generation of a profile. `nix-env --set` would also leave a garbage collector root
 *  that names a directory of this host. @returns the number of the generation. */
async function addGeneration(directory: string, profile: string, storePath: string): Promise<number> {
  const generations = (await readdir(directory))
    .map((name) =>
      name.startsWith(`${profile}-`) ? /^(\d+)-link$/.exec(name.slice(profile.length + 1))?.[1] : undefined,
    )
    .filter((number) => number !== undefined);
  const number = Math.max(0, ...generations.map(Number)) + 1;
  const link = `${profile}-${number}-link`;
  await symlink(storePath, join(directory, link));
  await rm(join(directory, profile), { force: true });
  await symlink(link, join(directory, profile));
  return number;
}

async function installChannel(root: string, channel: string): Promise<void> {
  const profiles = join(PROFILES, 'per-user/root');
  await addGeneration(join(root, profiles), 'channels', channel);
  await mkdir(join(root, 'root/.nix-defexpr'), { recursive: true });
  await chmod(join(root, 'root/.nix-defexpr'), 0o755);
  await symlink(`/${profiles}/channels`, join(root, 'root/.nix-defexpr/channels'));
}

/** Sets all registration times, and removes free pages, in which SQLite leaves old data. */
async function fixDatabase(step: StepRunner, root: string, time: number): Promise<void> {
  const database = join(root, 'nix/var/nix/db/db.sqlite');
  await step.run(
    ['sqlite3', '-batch', '-bail', database, `UPDATE ValidPaths SET registrationTime = ${time}; VACUUM;`],
    {
      what: 'cannot fix the registration times in the Nix database',
    },
  );
}

/** Sets the modes below a directory: 0755 for directories, 0644 for files. */
async function chmodTree(directory: string): Promise<void> {
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) {
      await chmod(path, 0o755);
      await chmodTree(path);
    } else if (entry.isFile()) await chmod(path, 0o644);
  }
}

async function makeStandardDirectories(root: string): Promise<void> {
  await makeDirectories(root);
  for (const [directory] of DIRECTORIES) {
    const target = join(root, directory);
    try {
      await mkdir(target, { mode: 0o755 });
    } catch (error) {
      if (!isErrno(error, 'EEXIST')) throw error;
      if (!(await lstat(target)).isDirectory())
        throw new UnexpectedStateError(STEP, `cannot install into ${root}: /${directory} is in the way`, {
          expected: 'a directory',
          found: 'another type of file, which contents may have added',
        });
    }
  }
}

/** Refuses symbolic links in directories to which programs of this host write: a link from `contents` could lead out of
 *  the root. */
async function refuseLinks(root: string): Promise<void> {
  const links: string[] = [];
  const look = async (directory: string): Promise<void> => {
    for (const entry of await readdir(join(root, directory), { withFileTypes: true }).catch(() => [])) {
      const path = `${directory}/${entry.name}`;
      if (entry.isSymbolicLink()) links.push(path);
      else if (entry.isDirectory()) await look(path);
    }
  };
  await look('nix/var');
  for (const path of ['nix/store', 'etc/NIXOS', 'root/.nix-defexpr'])
    if ((await lstat(join(root, path)).catch(() => undefined))?.isSymbolicLink()) links.push(path);
  if (links.length > 0)
    throw new InvalidOptionsError(
      STEP,
      links.map((link) => ({
        path: 'stagedRoot',
        message: `/${link} is a symbolic link; writing through it could change files of this host`,
      })),
    );
}

async function checkIsSystem(directory: string, toplevel: string): Promise<void> {
  const problem = async (message: string): Promise<never> => {
    throw new InvalidOptionsError(STEP, [{ path: 'toplevel', message: `${toplevel} ${message}` }], {
      hint: 'build one with: nix-build "<nixpkgs/nixos>" -A system, or nix build .#nixosConfigurations.NAME.config.system.build.toplevel',
    });
  };
  if ((await lstat(directory).catch(() => undefined)) === undefined)
    await problem(`is not in the store (${directory} does not exist)`);
  if ((await lstat(join(directory, 'init')).catch(() => undefined)) === undefined)
    await problem('is not a NixOS system: it has no init');
}
