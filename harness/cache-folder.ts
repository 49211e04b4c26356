import { mkdir, rename, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isErrno, makePrivateFolder } from '../lib/private-output.ts';

/** The one folder outside the checkout that the project writes to. @see XDG Base Directory Specification */
export function cacheFolder(): string {
  return join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'nixos-disk-image');
}

/** A file of the package's own sources, such as `vm-images/builder/agent.c`, from a checkout or from dist. */
export function packageFile(path: string): string {
  const here = dirname(fileURLToPath(import.meta.url));
  const packageRoot = here.endsWith(join('dist', 'harness')) ? join(here, '..', '..') : join(here, '..');
  return join(packageRoot, path);
}

/** The cached folder `name`, made by `make` into a private folder when it is not there yet. Two processes that make it
 *  at once both succeed, and one of the two results stays. */
export async function cachedFolder(name: string, make: (folder: string) => Promise<void>): Promise<string> {
  const target = join(cacheFolder(), name);
  if ((await stat(target).catch(() => undefined)) !== undefined) return target;
  await mkdir(dirname(target), { recursive: true });
  await using work = await makePrivateFolder(dirname(target));
  const folder = join(work.path, 'made');
  await mkdir(folder);
  await make(folder);
  try {
    await rename(folder, target);
  } catch (error) {
    if (!isErrno(error, 'ENOTEMPTY') && !isErrno(error, 'EEXIST')) throw error;
  }
  return target;
}
