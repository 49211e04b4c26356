import { access, constants, lstat, mkdir, open, readdir, realpath, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import type { Extent } from '../formats/extent.ts';
import { detectDiskFormat } from '../formats/image-formats.ts';
import { isErrno, wordsFor } from '../run/errno.ts';
import { InvalidOptionsError } from '../run/errors.ts';
import { SECTOR_BYTES } from '../units.ts';
import { readAt } from './read-at.ts';

/** Checks of paths that the caller passes as options, before anything is written. Errors name the option. */

/** Requires an existing raw disk image or block device that contains all of the partitions. Tools would create a
 *  missing file, write past the end of a small one, and into the tables of one in another format.
 *  @throws {InvalidOptionsError} */
export async function requireDisk(
  step: string,
  image: string,
  partitions: readonly Extent[] = [],
  option = 'image',
): Promise<void> {
  const facts = await look(step, image, option);
  if (facts.isBlockDevice()) return;
  if (!facts.isFile()) throw refusal(step, option, `${image} is ${kindOf(facts)}, not a disk image`);
  const format = await formatOf(image).catch((error: unknown) => {
    throw refusal(step, option, `${image} cannot be read: ${wordsFor(error)}`, error);
  });
  if (format !== 'raw')
    throw new InvalidOptionsError(step, [{ path: option, message: `${image} is a ${format}, not a raw disk image` }], {
      hint: 'convert it: qemu-img convert -O raw',
    });
  for (const { offsetBytes, sizeBytes } of partitions)
    if (facts.size < offsetBytes + sizeBytes)
      throw refusal(
        step,
        option,
        `${image} has ${facts.size} bytes, but the partition ends at byte ${offsetBytes + sizeBytes}`,
      );
}

/** The format of a file by its beginning, as QEMU writes it. The end, where a VHD has its mark, may be what a raw disk ends with. */
async function formatOf(image: string): Promise<string> {
  await using handle = await open(image, 'r');
  return detectDiskFormat(await readAt(handle, 0, SECTOR_BYTES), Buffer.alloc(0));
}

/** Requires a regular file: reading a pipe would block. @throws {InvalidOptionsError} */
export async function requireFile(step: string, path: string, option: string): Promise<void> {
  const facts = await look(step, path, option);
  if (!facts.isFile()) throw refusal(step, option, `${path} is ${kindOf(facts)}, not a file`);
}

/** Requires a regular file that is not in the Nix store, which everybody can read, not even by a link. @throws {InvalidOptionsError} */
export async function requireSecretFile(step: string, path: string, option: string): Promise<void> {
  await requireFile(step, path, option);
  const real = await realpath(path);
  if (/^\/nix\/store\//.test(real))
    throw refusal(step, option, `${path} is a link to ${real}, which everybody can read; keep secrets elsewhere`);
}

/** Requires an existing directory. @throws {InvalidOptionsError} */
export async function requireDirectory(step: string, path: string, option: string): Promise<void> {
  const facts = await look(step, path, option);
  if (!facts.isDirectory()) throw refusal(step, option, `${path} is ${kindOf(facts)}, not a directory`);
}

/** Requires a path at which a file can be created or replaced. Anything else there, such as a device node, must not be
 *  replaced.
 *  @throws {InvalidOptionsError} */
export async function requireReplaceable(step: string, path: string, option: string): Promise<void> {
  const facts = await lstat(path).catch((error: unknown) => {
    if (isErrno(error, 'ENOENT')) return undefined;
    throw refusal(step, option, `${path} cannot be written: ${wordsFor(error)}`, error);
  });
  if (facts === undefined) {
    const parent = await stat(dirname(path)).catch(() => undefined);
    if (parent === undefined)
      throw refusal(step, option, `${path} cannot be written: the directory ${dirname(path)} does not exist`);
    return;
  }
  const real = facts.isSymbolicLink() ? await stat(path).catch(() => undefined) : facts;
  if (real !== undefined && !real.isFile())
    throw refusal(step, option, `${path} is ${kindOf(real)}; only a regular file can be replaced`);
}

/** Requires a path at which nothing exists, and at which a file or a directory can be created.
 *  @throws {InvalidOptionsError} */
export async function requireNewFile(step: string, path: string, option: string): Promise<void> {
  const facts = await lstat(path).catch(() => undefined);
  if (facts === undefined) await requireReplaceable(step, path, option);
  else throw refusal(step, option, `${path} exists already, and is not overwritten`);
}

/** Like mkdir -p. Node's recursive mkdir never returns for a path in /proc. */
export async function makeDirectories(path: string): Promise<void> {
  try {
    await mkdir(path);
  } catch (error) {
    if (isErrno(error, 'EEXIST') && (await stat(path)).isDirectory()) return;
    const parent = dirname(path);
    if (!isErrno(error, 'ENOENT') || parent === path || (await isThere(parent))) throw error;
    await makeDirectories(parent);
    await makeDirectories(path);
  }
}

async function look(step: string, path: string, option: string): Promise<Awaited<ReturnType<typeof stat>>> {
  return stat(path).catch((error: unknown) => {
    throw refusal(
      step,
      option,
      isErrno(error, 'ENOENT') ? `${path} does not exist` : `${path} cannot be used: ${wordsFor(error)}`,
      error,
    );
  });
}

async function isThere(path: string): Promise<boolean> {
  return realpath(path).then(
    () => true,
    () => false,
  );
}

/** Describes the type of a file in words. */
export function kindOf(facts: Awaited<ReturnType<typeof stat>>): string {
  if (facts.isDirectory()) return 'a directory';
  if (facts.isFIFO()) return 'a named pipe (FIFO)';
  if (facts.isSocket()) return 'a socket';
  if (facts.isCharacterDevice()) return 'a character device';
  return facts.isBlockDevice() ? 'a block device' : 'a file';
}

function refusal(step: string, option: string, message: string, cause?: unknown): InvalidOptionsError {
  return new InvalidOptionsError(step, [{ path: option, message }], cause === undefined ? {} : { cause });
}

/** Refuses a directory that is inside of a source, which would be copied into itself. @throws {InvalidOptionsError} */
export async function refuseInside(step: string, source: string, directory: string, option: string): Promise<void> {
  const into = await realpathOfExisting(resolve(directory));
  const from = await realpath(source).catch(() => source);
  if (into === from || into.startsWith(`${from === '/' ? '' : from}/`))
    throw new InvalidOptionsError(step, [
      { path: option, message: `${source} contains ${directory}, and would be copied into itself` },
    ]);
}

/** The real path of a directory, parts of which may not exist yet. */
async function realpathOfExisting(path: string): Promise<string> {
  if (path === '/') return path;
  return realpath(path).catch(async () => join(await realpathOfExisting(dirname(path)), basename(path)));
}

/** Requires that everything in a directory can be read, and put into an image.
 *  @throws {InvalidOptionsError} which names the first path that cannot. */
export async function requireReadableTree(step: string, directory: string, option: string): Promise<void> {
  const unreadable = (path: string, error: unknown): InvalidOptionsError =>
    new InvalidOptionsError(step, [{ path: option, message: `${path} cannot be read: ${wordsFor(error)}` }], {
      cause: error,
    });
  const entries = await readdir(directory, { withFileTypes: true }).catch((error: unknown) => {
    throw unreadable(directory, error);
  });
  for (const entry of entries) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) await requireReadableTree(step, path, option);
    else if (entry.isFile())
      await access(path, constants.R_OK).catch((error: unknown) => {
        throw unreadable(path, error);
      });
    else if (!entry.isSymbolicLink() && !entry.isFIFO())
      throw refusal(
        step,
        option,
        `${path} is ${entry.isSocket() ? 'a socket' : 'a device'}, which an image cannot have`,
      );
  }
}
