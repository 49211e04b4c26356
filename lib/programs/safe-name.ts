import { symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { makePrivateDirectory } from '../host-files/private-output.ts';

/** A file name that every program takes literally, relative to a working directory. */
export interface SafeName extends AsyncDisposable {
  /** The working directory for the program. */
  readonly cwd: string;
  readonly name: string;
}

/** Names without any character that could be special. */
const PLAIN = /^\w[\w.+-]*$/;

/** Makes a safe name for a file, for programs that interpret file names: mtools passes a name with `$` or a backquote
 *  to a shell, and takes the text after `@@` as an offset. If the name has special characters, this makes a symbolic
 *  link to the file in a private directory. That directory is in the one for temporary files, which containers share.
 *  @see mtools' expand.c. Runs: flock. */
export async function safeName(file: string): Promise<SafeName> {
  if (PLAIN.test(basename(file)))
    return { cwd: dirname(file), name: `./${basename(file)}`, [Symbol.asyncDispose]: async () => {} };
  const directory = await makePrivateDirectory(tmpdir());
  await symlink(resolve(file), join(directory.path, 'image'));
  return { cwd: directory.path, name: './image', [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose]() };
}
