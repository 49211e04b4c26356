import { realpathSync } from 'node:fs';
import { lstat, readFile, readlink, realpath } from 'node:fs/promises';
import { basename, dirname, join, posix, resolve } from 'node:path';
import { InvalidOptionsError, UnexpectedStateError } from '../run/errors.ts';

/** Paths in the Nix store, which may be a private store in a directory. */

export const STORE_PATH = /^\/nix\/store\/[0-9a-df-np-sv-z]{32}-[0-9A-Za-z+._?=-]+$/;

/** The store path that contains a file: `/nix/store/HASH-NAME`; undefined for a file elsewhere. */
export function storePathOf(file: string): string | undefined {
  const [, storePath = ''] = /^(\/nix\/store\/[^/]+)(\/|$)/.exec(posix.normalize(file)) ?? [];
  return STORE_PATH.test(storePath) ? storePath : undefined;
}

/** The store URI of a directory: `local?root=…`, escaped. Nix refuses a store below a symbolic link, so links are resolved. */
export function storeUri(directory: string): string {
  return `local?root=${encodeURIComponent(realDirectory(resolve(directory))).replaceAll('%2F', '/')}`;
}

/** The real path of a directory, whose last parts may not exist yet. */
function realDirectory(directory: string): string {
  try {
    return realpathSync(directory);
  } catch {
    return directory === '/' ? directory : join(realDirectory(dirname(directory)), basename(directory));
  }
}

/** Resolves an option to a store path: it may be one, or a link to one such as `./result`.
 *  @throws {InvalidOptionsError} */
export async function resolveStorePath(
  step: string,
  file: string,
  option: string,
  store: string | undefined,
): Promise<string> {
  const plain = file.replace(/\/+$/, '');
  if (STORE_PATH.test(plain)) return plain;
  // A link from `nix-build --store` dangles on this host, because its target is in the private store.
  const target = await readlink(plain).catch(() => '');
  if (STORE_PATH.test(target)) return target;
  const real = await realpath(file).catch(() => undefined);
  const logical =
    real === undefined || store === undefined ? real : stripPrefix(real, await realpath(store).catch(() => store));
  if (logical !== undefined && STORE_PATH.test(logical)) return logical;
  throw new InvalidOptionsError(step, [
    {
      path: option,
      message:
        real === undefined
          ? `${file} does not exist`
          : `${file} is not in the Nix store; expected a path such as /nix/store/…-nixos-system-…, or a link to one`,
    },
  ]);
}

/** Like realpath(3), but resolves `/nix/store/…` in the store at `store`.
 *  @returns a path in `/nix/store`; undefined when the file does not exist. */
export async function resolveInStore(store: string, file: string): Promise<string | undefined> {
  let resolved = '/';
  const rest = file.split('/').filter((segment) => segment !== '' && segment !== '.');
  for (let links = 0; rest.length > 0; ) {
    const segment = rest.shift() ?? '';
    const next = posix.join(resolved, segment);
    const facts = await lstat(join(store, next)).catch(() => undefined);
    if (facts === undefined) return undefined;
    if (!facts.isSymbolicLink()) {
      resolved = next;
      continue;
    }
    links += 1;
    // The limit of Linux, which fails with ELOOP.
    if (links > 40) throw new UnexpectedStateError('resolve', `${file}: too many symbolic links`);
    const target = await readlink(join(store, next));
    if (target.startsWith('/')) resolved = '/';
    rest.unshift(...target.split('/').filter((part) => part !== '' && part !== '.'));
  }
  return resolved;
}

/** Reads a text file in a store, following symbolic links inside it.
 *  @returns undefined when the file cannot be read. */
export async function readInStore(
  store: string,
  file: string,
  encoding: 'utf8' | 'latin1' = 'utf8',
): Promise<string | undefined> {
  const path = await resolveInStore(store, file).catch(() => undefined);
  return path === undefined ? undefined : readFile(join(store, path), encoding).catch(() => undefined);
}

function stripPrefix(text: string, prefix: string): string {
  return text.startsWith(`${prefix}/`) ? text.slice(prefix.length) : text;
}
