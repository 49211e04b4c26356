import { AbortedError } from '../run/errors.ts';
import type { RunOptions } from '../run/executor.ts';
import { commandFailure, type StepRunner } from '../run/step.ts';
import { MIB } from '../units.ts';
import type { Budget } from './budget.ts';

export interface ProgramAnswer {
  /** Undefined when it said more than was wanted, and was stopped. */
  readonly exitCode: number | undefined;
  readonly stdout: Buffer;
  readonly stderr: string;
  /** Whether it said more than `maxBytes`. */
  readonly isCut: boolean;
}

export interface AskOptions extends Pick<RunOptions, 'input' | 'env' | 'cwd'> {
  /** The exit statuses that its manual gives a meaning. */
  readonly answers: readonly number[];
  /** Of its standard output; default 16 MiB. */
  readonly maxBytes?: number;
  /** What could not be done, for the error. */
  readonly what: string;
}

/** Runs a program that says something of an image. Only an exit status that it documents is an answer: a program that was
 *  killed, or ends otherwise, says nothing of the image.
 *  @throws {ToolFailedError}, {NoSpaceError} then: the host's failure. */
export async function askProgram(
  step: StepRunner,
  budget: Budget,
  argv: readonly string[],
  { answers, maxBytes = 16 * MIB, what, ...options }: AskOptions,
): Promise<ProgramAnswer> {
  const flood = new AbortController();
  const chunks: Buffer[] = [];
  let bytes = 0;
  const onStdout = (chunk: Buffer): void => {
    const room = maxBytes - bytes;
    if (room > 0) chunks.push(Buffer.from(chunk.subarray(0, room)));
    bytes += Math.min(room, chunk.length);
    if (chunk.length > room) flood.abort();
  };
  try {
    const signal = AbortSignal.any([budget.signal, flood.signal]);
    const result = await step.tryRun(argv, { ...options, answers, what, onStdout, maxOutputBytes: 4096, signal });
    const stdout = Buffer.concat(chunks);
    const stderr = result.stderr.toString('utf8');
    if (result.exitCode !== 0 && blamesTheHost(stderr))
      throw commandFailure(step.step, step.executor, result, { what });
    return { exitCode: result.exitCode, stdout, stderr, isCut: false };
  } catch (error) {
    if (!(error instanceof AbortedError) || !flood.signal.aborted || budget.signal.aborted) throw error;
    return { exitCode: undefined, stdout: Buffer.concat(chunks), stderr: '', isCut: true };
  }
}

/** Whether a program failed for want of something on this host, whatever its exit status says of the image. */
function blamesTheHost(said: string): boolean {
  return /No space left on device|Disk quota exceeded|Cannot allocate memory|Too many open files|Permission denied|Operation not permitted|error while loading shared libraries/.test(
    said,
  );
}
