import { statfs } from 'node:fs/promises';
import { NoSpaceError } from '../run/errors.ts';

/** Compares what is known to be needed with what is free, before the first byte is written.
 *  @param directory one that is there, on the filesystem that is written to.
 *  @throws {NoSpaceError} with both. */
export async function requireRoom(step: string, directory: string, neededBytes: number): Promise<void> {
  if (neededBytes > (await freeBytes(directory))) throw await hostHasNoRoom(step, directory, neededBytes);
}

/** Bytes that this user may still write there. */
export async function freeBytes(directory: string): Promise<number> {
  const { bavail, bsize } = await statfs(directory);
  return bavail * bsize;
}

/** The error for a full filesystem of this host. */
export async function hostHasNoRoom(
  step: string,
  directory: string,
  neededBytes: number,
  options: { readonly cause?: unknown } = {},
): Promise<NoSpaceError> {
  return new NoSpaceError(
    step,
    `the filesystem of ${directory}`,
    { neededBytes, availableBytes: await freeBytes(directory) },
    { ...options, hint: 'free space there, or put the image elsewhere' },
  );
}
