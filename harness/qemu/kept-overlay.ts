import { rm, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { kindOf } from '../../lib/host-files/given-paths.ts';
import { backingFileOf, type DiskImageFacts } from '../../lib/programs/disk-image-format.ts';
import { isErrno, wordsFor } from '../../lib/run/errno.ts';
import { InvalidOptionsError, quoteForDisplay } from '../../lib/run/errors.ts';
import { createOverlay } from './overlay.ts';

export interface KeptOverlay {
  readonly file: string;
  /** Removes it again if it was made here: no machine has written to it. */
  discard(): Promise<void>;
}

/** The qcow2 file that keeps what a machine writes over an image: created if it does not exist, otherwise continued. It holds only the
 *  differences and names the image, which must stay as it is, where it is.
 *  @throws {InvalidOptionsError} for another file, one over another image, or one over an image that has changed since.
 *  Runs: qemu-img. */
export async function keptOverlay(given: string, image: DiskImageFacts): Promise<KeptOverlay> {
  const file = resolve(given);
  const facts = await stat(file).catch((cause: unknown) => {
    if (isErrno(cause, 'ENOENT')) return undefined;
    throw refusal(`${file} cannot be read: ${wordsFor(cause)}`, undefined, cause);
  });
  if (facts === undefined) {
    const parent = dirname(file);
    if (!(await isDirectory(parent))) throw refusal(`${file} cannot be written: there is no directory ${parent}`);
    await createOverlay(file, image.virtualBytes, image);
    return { file, discard: () => rm(file, { force: true }) };
  }
  if (!facts.isFile()) throw refusal(`${file} is ${kindOf(facts)}, not a file`);
  const backing = await backingFileOf(file);
  if (backing === undefined) throw refusal(`${file} is there, and does not hold changes to an image`);
  if (backing !== image.file)
    throw refusal(
      `${file} holds changes to ${backing}, not to ${image.file}`,
      `if that image was moved: qemu-img rebase -u -f qcow2 -F ${image.format} -b ${quoteForDisplay(image.file)} ${quoteForDisplay(file)}`,
    );
  if (!image.isDevice && (await stat(image.file)).mtimeMs > facts.mtimeMs)
    throw refusal(
      `${image.file} has changed since ${file} was written, and the changes no longer fit it`,
      'name another file, or remove this one',
    );
  return { file, discard: async () => {} };
}

async function isDirectory(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isDirectory() === true;
}

function refusal(message: string, hint?: string, cause?: unknown): InvalidOptionsError {
  return new InvalidOptionsError('startMachine', [{ path: 'overlay', message }], { hint, cause });
}
