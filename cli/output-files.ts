import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { InvalidOptionsError } from '../lib/run/errors.ts';

/** Checks that files can be written, before a minute is spent on what could then not be written down.
 *  @param files by the options that name them.
 *  @throws {InvalidOptionsError} */
export async function checkWritable(
  command: string,
  files: Readonly<Record<string, string | undefined>>,
): Promise<void> {
  for (const [option, file] of Object.entries(files))
    if (file !== undefined)
      await access(dirname(resolve(file)), constants.W_OK).catch((cause: unknown) => {
        const message = `${dirname(resolve(file))} is not there, or cannot be written to`;
        throw new InvalidOptionsError(command, [{ path: option, message }], { cause });
      });
}
