import { lstat, readFile, readlink, realpath } from 'node:fs/promises';
import { join, posix, resolve } from 'node:path';
import { InvalidOptionsError, UnexpectedStateError } from '../run/errors.ts';

/** Names of the Nix store, on a host whose store may be a private directory's. */

export const STORE_PATH = /^\/nix\/store\/[0-9a-df-np-sv-z]{32}-[0-9A-Za-z+._?=-]+$/;

/** The store path that a file belongs to: `/nix/store/HASH-NAME`; undefined for a file elsewhere. */
export function storePathOf(file: string): string | undefined {
  const [, storePath = ''] = /^(\/nix\/store\/[^/]+)(\/|$)/.exec(posix.normalize(file)) ?? [];
  return STORE_PATH.test(storePath) ? storePath : undefined;
}

/** The store URI of a directory: `local?root=…`, escaped. */
export function storeUri(directory: string): string {
  return `local?root=${encodeURIComponent(resolve(directory)).replaceAll('%2F', '/')}`;
}

/** The store path that an option names, directly or by a link such as `./result`.
 *  @throws {InvalidOptionsError} */
export async function resolveStorePath(
  step: string,
  file: string,
  option: string,
  store: string | undefined,
): Promise<string> {
  const plain = file.replace(/\/+$/, '');
  if (STORE_PATH.test(plain)) return plain;
  // The link that `nix-build --store` makes dangles on this host: its target is in the private store.
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

/** As realpath(3), but links are followed in the store at `store`: `/nix/store/…` stays `/nix/store/…`.
 *  @returns the path as the store names it; undefined when there is no such file. */
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
    // As Linux does, with ELOOP.
    if (links > 40) throw new UnexpectedStateError('resolve', `${file}: too many symbolic links`);
    const target = await readlink(join(store, next));
    if (target.startsWith('/')) resolved = '/';
    rest.unshift(...target.split('/').filter((part) => part !== '' && part !== '.'));
  }
  return resolved;
}

/** The text of a file in a store, symbolic links followed inside it.
 *  @returns undefined where there is no file that can be read. */
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
