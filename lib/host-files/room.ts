import { statfs } from 'node:fs/promises';
import { NoSpaceError } from '../run/errors.ts';

/** Compares what is known to be needed with what is free, before the first byte is written.
 *  @param directory one that is there, on the filesystem that is written to.
 *  @throws {NoSpaceError} with both. */
export async function requireRoom(step: string, directory: string, neededBytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(directory);
  const availableBytes = bavail * bsize;
  if (neededBytes > availableBytes)
    throw new NoSpaceError(
      step,
      `the filesystem of ${directory}`,
      { neededBytes, availableBytes },
      { hint: 'free space there, or put the image elsewhere' },
    );
}
