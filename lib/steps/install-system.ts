import { chmod, lstat, mkdir, readdir, readFile, readlink, realpath, symlink, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { InvalidOptionsError, UnexpectedStateError } from '../errors.ts';
import { isErrno } from '../private-output.ts';
import { path } from '../spec/fields.ts';
import { type CrossRule, parseOptions } from '../spec/parse-options.ts';
import { runStep, type StepContext, type StepRunner } from '../step.ts';

const STEP = 'installSystem';

const schema = z.object({
  root: path,
  toplevel: path,
  store: path.optional(),
  closureInfo: path.optional(),
  additionalPaths: z.array(path).default([]),
  channel: path.optional(),
});

export interface InstallSystemOptions {
  /** The folder that becomes the image's root. */
  readonly root: string;
  /** The NixOS system: a path in the Nix store, or a link to one, such as `./result`. */
  readonly toplevel: string;
  /** A private store's folder (`nix-build --store DIR`), with `nix/store` in it; default: the host's store. */
  readonly store?: string | undefined;
  /** A `closureInfo` folder (`store-paths`, `registration`): nothing is asked of a Nix database then. */
  readonly closureInfo?: string | undefined;
  /** More store paths to copy, with their closures. */
  readonly additionalPaths?: readonly string[] | undefined;
  /** A store path with the channel's sources; default: no channel. */
  readonly channel?: string | undefined;
}

export interface InstalledSystem {
  /** `/nix/store/…` */
  readonly toplevel: string;
  /** The store paths that are now registered in the root, sorted. */
  readonly storePaths: readonly string[];
  /** The text of `nixos-version`; undefined when the system has none. */
  readonly version: string | undefined;
}

const STORE_PATH = /^\/nix\/store\/[0-9a-df-np-sv-z]{32}-[0-9A-Za-z+._?=-]+$/;
const SYSTEM_PROFILE = 'nix/var/nix/profiles/system';

/** Modes of the folders a NixOS root begins with. */
const FOLDERS: readonly (readonly [string, number])[] = [
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

const storeRule: CrossRule<z.output<typeof schema>> = ({ closureInfo, additionalPaths, channel }) =>
  closureInfo !== undefined && ((additionalPaths?.length ?? 0) > 0 || channel !== undefined)
    ? [
        {
          path: 'closureInfo',
          message:
            'already names all store paths; give additionalPaths and channel to the closureInfo itself (rootPaths)',
        },
      ]
    : [];

/** The store URI of a folder: `local?root=…`, escaped. */
export function storeUri(folder: string): string {
  return `local?root=${encodeURIComponent(resolve(folder)).replaceAll('%2F', '/')}`;
}

/** Does what `nixos-install --no-bootloader --no-root-passwd --substituters ""` does, into a folder and without root:
 *  copies the closure of `toplevel`, registers it in a Nix database, makes generation 1 of the `system` profile, the
 *  standard folders with their modes, `/etc/NIXOS`, and the channel when asked.
 *  @throws {InvalidOptionsError} when `toplevel` is not in the store or is no NixOS system.
 *  @throws {NoSpaceError} when the host's disk is full.
 *  @see nixos-install(8), nix-env(1) --set, nix-store(1) --load-db. Runs: nix, nix-env, nix-store; rsync for closureInfo. */
export async function installSystem(options: InstallSystemOptions, context?: StepContext): Promise<InstalledSystem> {
  const parsed = parseOptions(STEP, schema, options, [storeRule]);
  const root = resolve(parsed.root);
  const toplevel = await resolveStorePath(parsed.toplevel, 'toplevel', parsed.store);
  const sourceRoot = parsed.store === undefined ? '/' : resolve(parsed.store);
  await checkIsSystem(join(sourceRoot, toplevel), toplevel);
  const additional = await Promise.all(
    parsed.additionalPaths.map((file, index) => resolveStorePath(file, `additionalPaths[${index}]`, parsed.store)),
  );
  const channel =
    parsed.channel === undefined ? undefined : await resolveStorePath(parsed.channel, 'channel', parsed.store);

  return runStep(STEP, context, toplevel, async (step) => {
    await makeFolders(root);
    await refuseLinks(root);
    if (parsed.closureInfo === undefined) {
      const wanted = [toplevel, ...additional, ...(channel === undefined ? [] : [channel])];
      await nix(step, copyClosureArgs(root, wanted, parsed.store), `cannot copy the closure of ${toplevel}`);
    } else {
      await copyClosureInfo(step, root, sourceRoot, parsed.closureInfo, toplevel);
    }
    await nix(step, setProfileArgs(root, join(root, SYSTEM_PROFILE), toplevel), `cannot make the system profile`);
    if (channel !== undefined) await installChannel(step, root, channel);
    await writeFile(join(root, 'etc/NIXOS'), '', { flag: 'wx' }).catch((error: unknown) => {
      if (!isErrno(error, 'EEXIST')) throw error;
    });
    // `nix copy` leaves the folders' modes to the umask.
    for (const [folder, mode] of FOLDERS) await chmod(join(root, folder), mode);
    const listed = await nix(step, [
      'nix-store',
      '--store',
      storeUri(root),
      '--query',
      '--requisites',
      toplevel,
      ...additional,
      ...(channel === undefined ? [] : [channel]),
    ]);
    const storePaths = listed
      .split('\n')
      .filter((line) => line !== '')
      .sort();
    const missing = [];
    for (const storePath of storePaths)
      if ((await lstat(join(root, storePath)).catch(() => undefined)) === undefined) missing.push(storePath);
    if (missing.length > 0)
      throw new InvalidOptionsError(
        STEP,
        missing.map((storePath) => ({
          path: 'closureInfo',
          message: `registers ${storePath}, which is not in its store-paths`,
        })),
      );
    const version = await readFile(join(sourceRoot, toplevel, 'nixos-version'), 'utf8').catch(() => undefined);
    return { toplevel, storePaths, version: version?.trim() };
  });
}

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

/** Arguments that make `storePath` the next generation of a profile. */
export function setProfileArgs(root: string, profile: string, storePath: string): string[] {
  return ['nix-env', '--store', storeUri(root), '--profile', profile, '--set', storePath];
}

async function nix(step: StepRunner, argv: readonly string[], what?: string, input?: Buffer): Promise<string> {
  const { stdout } = await step.run(argv, {
    what,
    input,
    // The caller's nix.conf must not bring in substituters, or a group of build users that this root does not have.
    env: {
      NIX_CONFIG: 'substituters =\nbuild-users-group =\nexperimental-features = nix-command\n',
      NIX_REMOTE: process.env.NIX_REMOTE ?? '',
    },
  });
  return stdout.toString('utf8');
}

async function copyClosureInfo(
  step: StepRunner,
  root: string,
  sourceRoot: string,
  closureInfo: string,
  toplevel: string,
): Promise<void> {
  const [listed, registration] = await Promise.all(
    ['store-paths', 'registration'].map((name) =>
      readFile(join(closureInfo, name)).catch((cause: unknown) => {
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
  const storePaths = (listed?.toString('utf8') ?? '').split('\n').filter((line) => line !== '');
  const wrong = storePaths.find((storePath) => !STORE_PATH.test(storePath));
  if (wrong !== undefined)
    throw new InvalidOptionsError(STEP, [
      { path: 'closureInfo', message: `store-paths names ${JSON.stringify(wrong)}, which is no store path` },
    ]);
  if (!storePaths.includes(toplevel))
    throw new InvalidOptionsError(STEP, [
      { path: 'closureInfo', message: `${closureInfo} does not hold the toplevel ${toplevel}` },
    ]);
  await step.run(
    [
      'rsync',
      '--archive',
      '--hard-links',
      '--no-owner',
      '--no-group',
      '--',
      ...storePaths.map((storePath) => join(sourceRoot, storePath)),
      `${join(root, 'nix/store')}/`,
    ],
    {
      what: 'cannot copy the closure',
    },
  );
  await nix(step, ['nix-store', '--store', storeUri(root), '--load-db'], 'cannot register the closure', registration);
}

async function installChannel(step: StepRunner, root: string, channel: string): Promise<void> {
  const profile = 'nix/var/nix/profiles/per-user/root/channels';
  await nix(step, setProfileArgs(root, join(root, profile), channel), 'cannot install the channel');
  await mkdir(join(root, 'root/.nix-defexpr'), { recursive: true, mode: 0o700 });
  await symlink(`/${profile}`, join(root, 'root/.nix-defexpr/channels'));
}

async function makeFolders(root: string): Promise<void> {
  await mkdir(root, { recursive: true });
  for (const [folder] of FOLDERS) {
    const target = join(root, folder);
    try {
      await mkdir(target, { mode: 0o755 });
    } catch (error) {
      if (!isErrno(error, 'EEXIST')) throw error;
      if (!(await lstat(target)).isDirectory())
        throw new UnexpectedStateError(STEP, `cannot install into ${root}: /${folder} is in the way`, {
          expected: 'a folder',
          found: 'something else, perhaps from contents',
        });
    }
  }
}

/** What runs on this host writes below these: a symbolic link there, from contents, would lead it out of the root. */
async function refuseLinks(root: string): Promise<void> {
  const links: string[] = [];
  const look = async (folder: string): Promise<void> => {
    for (const entry of await readdir(join(root, folder), { withFileTypes: true }).catch(() => [])) {
      const path = `${folder}/${entry.name}`;
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
        path: 'root',
        message: `/${link} is a symbolic link, through which this host would be written to`,
      })),
    );
}

async function resolveStorePath(file: string, option: string, store: string | undefined): Promise<string> {
  if (STORE_PATH.test(file.replace(/\/+$/, ''))) return file.replace(/\/+$/, '');
  // The link that `nix-build --store` makes dangles on this host: its target is in the private store.
  const target = await readlink(file.replace(/\/+$/, '')).catch(() => '');
  if (STORE_PATH.test(target)) return target;
  const real = await realpath(file).catch(() => undefined);
  const logical =
    real === undefined || store === undefined ? real : stripPrefix(real, await realpath(store).catch(() => store));
  if (logical !== undefined && STORE_PATH.test(logical)) return logical;
  throw new InvalidOptionsError(STEP, [
    {
      path: option,
      message:
        real === undefined
          ? `${file} does not exist`
          : `${file} is not in the Nix store; expected a path such as /nix/store/…-nixos-system-…, or a link to one`,
    },
  ]);
}

function stripPrefix(text: string, prefix: string): string {
  return text.startsWith(`${prefix}/`) ? text.slice(prefix.length) : text;
}

async function checkIsSystem(folder: string, toplevel: string): Promise<void> {
  const problem = async (message: string): Promise<never> => {
    throw new InvalidOptionsError(STEP, [{ path: 'toplevel', message: `${toplevel} ${message}` }], {
      hint: 'build one with: nix-build "<nixpkgs/nixos>" -A system, or nix build .#nixosConfigurations.NAME.config.system.build.toplevel',
    });
  };
  if ((await lstat(folder).catch(() => undefined)) === undefined)
    await problem(`is not in the store (${folder} does not exist)`);
  if ((await lstat(join(folder, 'init')).catch(() => undefined)) === undefined)
    await problem('is no NixOS system: it has no init');
}
