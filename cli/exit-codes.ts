import { existsSync } from 'node:fs';
import { packageFile } from '../harness/cache-directory.ts';
import { AssertionFailedError, BootFailedError } from '../harness/errors.ts';
import { printableLines } from '../lib/printable.ts';
import {
  AbortedError,
  DiskImageError,
  ImageTooSmallError,
  InvalidOptionsError,
  ToolFailedError,
} from '../lib/run/errors.ts';

/** What the exit status says. */
export const EXIT = {
  good: 0,
  /** The guest or the image is wrong. */
  wrong: 1,
  usage: 2,
  /** The harness or the host failed. */
  harness: 3,
  interrupted: 130,
} as const;

/** The process that read the output is gone: the end of a pipeline such as `| head`. */
export class ReaderGone extends Error {
  override readonly message = 'the reader of the output is gone';
}

/** Steps that run the installed system's own programs: when they fail, it is the system that is wrong. */
const STEPS_OF_THE_SYSTEM = new Set(['switchToConfiguration', 'chownContents', 'nixosEnter']);

export function exitCodeOf(error: unknown): number {
  // The caller chose the size of the disk or boot partition, and it is too small.
  if (error instanceof InvalidOptionsError || error instanceof ImageTooSmallError) return EXIT.usage;
  if (error instanceof AbortedError) return EXIT.interrupted;
  if (error instanceof BootFailedError || error instanceof AssertionFailedError) return EXIT.wrong;
  if (error instanceof ToolFailedError && STEPS_OF_THE_SYSTEM.has(error.failure.step)) return EXIT.wrong;
  return EXIT.harness;
}

/** What a person reads: the project's own errors without a stack, others with one, for they are bugs. Messages may quote what an
 *  image says, or a program of it: what a terminal would obey is escaped. */
export function errorText(error: unknown): string {
  return printableLines(messageOf(error));
}

function messageOf(error: unknown): string {
  if (error instanceof DiskImageError)
    // What is wrong with an option or an image is said in full; what is wrong with the host is looked up.
    return exitCodeOf(error) === EXIT.harness
      ? `${error.message}\n\nError code: ${described(error.code)}`
      : error.message;
  // The system's own words, such as EACCES with the path: no bug, and no stack.
  if (error instanceof Error && 'syscall' in error) return error.message;
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

/** An error's code, and where the installed documents say what to do. */
function described(code: string): string {
  const file = packageFile('docs/errors.md');
  return existsSync(file) ? `${code}, described in ${file}#${code.toLowerCase()}` : code;
}
