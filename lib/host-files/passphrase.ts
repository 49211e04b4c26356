import { open } from 'node:fs/promises';
import { InvalidOptionsError } from '../run/errors.ts';
import { requireFile } from './given-paths.ts';
import { readAt } from './read-at.ts';

/** cryptsetup's limit for a passphrase that is typed. */
const LONGEST_BYTES = 512;

/** Reads a passphrase from a file. One newline at its end is not part of it, because nobody could type it at a boot.
 *  @throws {InvalidOptionsError} when the file is empty, has several lines, or is too long to be typed. */
export async function readPassphrase(step: string, file: string, option: string): Promise<Buffer> {
  await requireFile(step, file, option);
  await using handle = await open(file, 'r');
  const bytes = await readAt(handle, 0, LONGEST_BYTES + 2);
  const passphrase = bytes.at(-1) === 0x0a ? bytes.subarray(0, -1) : bytes;
  const refuse = (message: string): InvalidOptionsError =>
    new InvalidOptionsError(step, [{ path: option, message: `${file} ${message}` }]);
  if (passphrase.length === 0) throw refuse('is empty: it must contain the passphrase');
  if (passphrase.length > LONGEST_BYTES) throw refuse(`is longer than the ${LONGEST_BYTES} bytes that can be typed`);
  if (passphrase.includes(0x0a)) throw refuse('has several lines; a passphrase is one line');
  return passphrase;
}
