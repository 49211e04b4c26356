import { constants } from 'node:fs';
import { access, appendFile, realpath, rm, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { kindOf } from '../lib/host-files/given-paths.ts';
import { hostHasNoRoom } from '../lib/host-files/room.ts';
import { isErrno, wordsFor } from '../lib/run/errno.ts';
import { InvalidOptionsError, type OptionIssue } from '../lib/run/errors.ts';

type Files = Readonly<Record<string, string | undefined>>;

/** Checks that files can be written, before a minute is spent on what could then not be written down, and that they are none of
 *  the files that are read, nor one file twice. Links are followed.
 *  @param files by the options that name them.
 *  @param inputs by what names them, such as "the image".
 *  @throws {InvalidOptionsError} with all problems at once. */
export async function checkOutputs(command: string, files: Files, inputs: Files): Promise<void> {
  const taken = new Map<string, string>();
  for (const [name, file] of Object.entries(inputs)) if (file !== undefined) taken.set(await identityOf(file), name);
  const issues: OptionIssue[] = [];
  for (const [option, file] of Object.entries(files)) {
    if (file === undefined) continue;
    const problem = await problemWith(file);
    const identity = await identityOf(file);
    const other = taken.get(identity);
    if (problem !== undefined) issues.push({ path: option, message: problem });
    else if (other !== undefined) issues.push({ path: option, message: `${file} is ${other} as well` });
    // Several reports may go into one pipe or terminal.
    if ((await stat(file).catch(() => undefined))?.isFile() !== false) taken.set(identity, `the file for ${option}`);
  }
  if (issues.length > 0) throw new InvalidOptionsError(command, issues);
}

async function problemWith(file: string): Promise<string | undefined> {
  const facts = await stat(file).catch(() => undefined);
  if (facts?.isDirectory() || facts?.isBlockDevice()) return `${file} is ${kindOf(facts)}, not a file to write to`;
  const directory = dirname(resolve(file));
  return access(facts === undefined ? directory : file, constants.W_OK).then(
    () => undefined,
    (error: unknown) => `${facts === undefined ? directory : file} cannot be written to: ${wordsFor(error)}`,
  );
}

/** The same for all names of one file. */
async function identityOf(file: string): Promise<string> {
  const facts = await stat(file).catch(() => undefined);
  if (facts !== undefined) return `${facts.dev}:${facts.ino}`;
  const directory = dirname(resolve(file));
  return join(await realpath(directory).catch(() => directory), basename(file));
}

/** Writes a report. A new file that could not be written completely is removed.
 *  @throws {NoSpaceError}, or {InvalidOptionsError} with the option. */
export async function writeOutput(
  command: string,
  option: string,
  file: string,
  text: string,
  { append = false } = {},
): Promise<void> {
  const isNew = await stat(file).then(
    () => false,
    () => true,
  );
  try {
    await (append ? appendFile : writeFile)(file, text);
  } catch (cause) {
    if (isNew) await rm(file, { force: true });
    if (isErrno(cause, 'ENOSPC') || isErrno(cause, 'EDQUOT'))
      throw await hostHasNoRoom(command, dirname(resolve(file)), Buffer.byteLength(text), { cause });
    throw new InvalidOptionsError(
      command,
      [{ path: option, message: `${file} cannot be written: ${wordsFor(cause)}` }],
      {
        cause,
      },
    );
  }
}
