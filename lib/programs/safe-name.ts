import { symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { makePrivateDirectory } from '../host-files/private-output.ts';

/** A name of a file that means this file and nothing else to any program, when it runs in a directory. */
export interface SafeName extends AsyncDisposable {
  /** Where the program must run. */
  readonly cwd: string;
  readonly name: string;
}

/** What no program has a syntax for. */
const PLAIN = /^\w[\w.+-]*$/;

/** Names a file for a program that would read more than a file out of its name: mtools gives a name with `$` or a backquote in it to
 *  a shell, and takes what follows `@@` for a position. A name that is not plain is linked to from a private directory, in the one
 *  for temporary files, which a container has too. @see mtools' expand.c. Runs: flock. */
export async function safeName(file: string): Promise<SafeName> {
  if (PLAIN.test(basename(file)))
    return { cwd: dirname(file), name: `./${basename(file)}`, [Symbol.asyncDispose]: async () => {} };
  const directory = await makePrivateDirectory(tmpdir());
  await symlink(resolve(file), join(directory.path, 'image'));
  return { cwd: directory.path, name: './image', [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose]() };
}
