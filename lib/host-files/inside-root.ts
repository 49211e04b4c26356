import { chmod, copyFile, mkdir, realpath, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { isErrno } from '../run/errno.ts';
import { InvalidOptionsError, UnexpectedStateError } from '../run/errors.ts';

/** Writes into a staged root that cannot escape it: a symbolic link in the root, copied from `contents`, may point
 *  anywhere. */

/** Like mkdir -p with mode 0755, but refuses symbolic links that lead out of the root.
 *  @param directory relative to the root, with a leading slash.
 *  @throws {InvalidOptionsError} when it leads out of the root; {UnexpectedStateError} when a file is in the way. */
export async function makeDirectoryInside(step: string, root: string, directory: string): Promise<void> {
  const realRoot = await realpath(root);
  let current = realRoot;
  for (const segment of directory.split('/').filter((part) => part !== '')) {
    current = join(current, segment);
    const shown = current.slice(realRoot.length);
    try {
      await mkdir(current);
      // Independent of the umask.
      await chmod(current, 0o755);
    } catch (error) {
      if (!isErrno(error, 'EEXIST')) throw error;
    }
    const real = await realpath(current).catch(() => undefined);
    if (real === undefined || !(real === realRoot || real.startsWith(`${realRoot}/`)))
      throw new InvalidOptionsError(step, [
        { path: 'contents', message: `${directory} leaves the root through the symbolic link ${shown}` },
      ]);
    if (!(await stat(current)).isDirectory())
      throw new UnexpectedStateError(step, `cannot make ${directory}: ${shown} is in the way`, {
        expected: 'a directory',
        found: 'a file',
      });
  }
}

/** Writes a file in the root, with mode 0644. Replaces an existing file. */
export async function writeInside(step: string, root: string, file: string, data: string | Uint8Array): Promise<void> {
  await placeInside(step, root, file, (target) => writeFile(target, data));
}

/** Like `writeInside`, with the content of a file of this host. */
export async function copyInside(step: string, root: string, file: string, source: string): Promise<void> {
  await placeInside(step, root, file, (target) => copyFile(source, target));
}

async function placeInside(
  step: string,
  root: string,
  file: string,
  write: (target: string) => Promise<void>,
): Promise<void> {
  await makeDirectoryInside(step, root, dirname(file));
  const target = join(root, file);
  await rm(target, { force: true });
  await write(target);
  await chmod(target, 0o644);
}
