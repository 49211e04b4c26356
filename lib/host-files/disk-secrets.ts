import { fstat, read } from 'node:fs';
import { open } from 'node:fs/promises';
import { isatty } from 'node:tty';
import { promisify } from 'node:util';
import { InvalidOptionsError } from '../run/errors.ts';
import { requireSecretFile } from './given-paths.ts';
import { readAt } from './read-at.ts';

/** cryptsetup's limit for a passphrase that is typed. */
const LONGEST_BYTES = 512;

/** A descriptor of this process, such as the end of a pipe that a shell opened: `3< <(pass show disk)`. */
const DESCRIPTOR = /^\/(?:dev|proc\/self)\/fd\/(\d+)$/;

/** What was read from descriptors: a pipe can be read only once, and several steps need the passphrase. */
const descriptors = new Map<number, Promise<Buffer>>();

/** Reads a passphrase from a file or from a descriptor (`/dev/fd/3`). One newline at its end is not part of it, because nobody could type
 *  it at a boot.
 *  @throws {InvalidOptionsError} when it is empty, has several lines, or is too long to be typed. */
export async function readPassphrase(step: string, file: string, option: string): Promise<Buffer> {
  const refuse = (message: string): InvalidOptionsError =>
    new InvalidOptionsError(step, [{ path: option, message: `${file} ${message}` }]);
  const number = DESCRIPTOR.exec(file === '/dev/stdin' ? '/dev/fd/0' : file)?.[1];
  if (number !== undefined && isatty(Number(number))) throw refuse('is a terminal, which would show the passphrase');
  const bytes =
    number === undefined ? await readStart(step, file, option) : await readDescriptor(Number(number), refuse);
  const passphrase = bytes.at(-1) === 0x0a ? bytes.subarray(0, -1) : bytes;
  if (passphrase.length === 0) throw refuse('is empty: it must contain the passphrase');
  if (passphrase.length > LONGEST_BYTES) throw refuse(`is longer than the ${LONGEST_BYTES} bytes that can be typed`);
  if (passphrase.includes(0x0a)) throw refuse('has several lines; a passphrase is one line');
  return passphrase;
}

/** AES-256-XTS has two keys of 256 bits. */
export const VOLUME_KEY_BYTES = 64;

/** Reads the key of the data of an encrypted partition. @throws {InvalidOptionsError} when the file has another size. */
export async function readVolumeKey(step: string, file: string, option: string): Promise<Buffer> {
  await requireSecretFile(step, file, option);
  await using handle = await open(file, 'r');
  const key = await readAt(handle, 0, VOLUME_KEY_BYTES + 1);
  if (key.length === VOLUME_KEY_BYTES) return key;
  const found = key.length > VOLUME_KEY_BYTES ? `more than ${VOLUME_KEY_BYTES}` : `${key.length}`;
  throw new InvalidOptionsError(step, [
    { path: option, message: `${file} has ${found} bytes; a key for AES-256-XTS has ${VOLUME_KEY_BYTES}` },
  ]);
}

async function readStart(step: string, file: string, option: string): Promise<Buffer> {
  await requireSecretFile(step, file, option);
  await using handle = await open(file, 'r');
  return await readAt(handle, 0, LONGEST_BYTES + 2);
}

async function readDescriptor(number: number, refuse: (message: string) => InvalidOptionsError): Promise<Buffer> {
  const known = descriptors.get(number) ?? readAll(number);
  descriptors.set(number, known);
  return known.catch((error: unknown) => {
    throw refuse(`cannot be read: ${error instanceof Error ? error.message : error}`);
  });
}

/** Reads the descriptor itself. Its name in /dev/fd would open the file again, from its start. */
async function readAll(number: number): Promise<Buffer> {
  const facts = await promisify(fstat)(number);
  if (!facts.isFile() && !facts.isFIFO() && !facts.isSocket()) throw new Error('it is neither a file nor a pipe');
  const bytes = Buffer.alloc(LONGEST_BYTES + 2);
  let done = 0;
  while (done < bytes.length) {
    const { bytesRead } = await promisify(read)(number, bytes, done, bytes.length - done, null);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return bytes.subarray(0, done);
}
