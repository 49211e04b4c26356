import { statfs } from 'node:fs/promises';
import { NoSpaceError } from '../run/errors.ts';

/** Checks that the filesystem of a directory has enough free space.
 *  @param directory must exist.
 *  @throws {NoSpaceError} with bytes needed and available. */
export async function requireRoom(step: string, directory: string, neededBytes: number): Promise<void> {
  if (neededBytes > (await freeBytes(directory))) throw await hostHasNoRoom(step, directory, neededBytes);
}

/** Free space for unprivileged users, in bytes. */
export async function freeBytes(directory: string): Promise<number> {
  const { bavail, bsize } = await statfs(directory);
  return bavail * bsize;
}

/** Makes the error for a full filesystem of this host. @param neededBytes undefined when it is unknown. */
export async function hostHasNoRoom(
  step: string,
  directory: string,
  neededBytes: number | undefined,
  options: { readonly cause?: unknown } = {},
): Promise<NoSpaceError> {
  return new NoSpaceError(
    step,
    `the filesystem of ${directory}`,
    { neededBytes, availableBytes: await freeBytes(directory) },
    { ...options, hint: 'free space there, or put the image elsewhere' },
  );
}
