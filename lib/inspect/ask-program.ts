import { AbortedError } from '../run/errors.ts';
import type { RunOptions } from '../run/executor.ts';
import { commandFailure, type StepRunner } from '../run/step.ts';
import { MIB } from '../units.ts';
import type { Budget } from './budget.ts';

export interface ProgramAnswer {
  /** Undefined when it was stopped because its output exceeded `maxBytes`. */
  readonly exitCode: number | undefined;
  readonly stdout: Buffer;
  readonly stderr: string;
  /** Whether its output exceeded `maxBytes`. */
  readonly isCut: boolean;
}

export interface AskOptions extends Pick<RunOptions, 'input' | 'env' | 'cwd'> {
  /** The exit statuses that its manual documents. */
  readonly answers: readonly number[];
  /** The limit of its standard output; default 16 MiB. */
  readonly maxBytes?: number;
  /** The failure in words, for the error. */
  readonly what: string;
}

/** Runs a program that examines an image. Only a documented exit status is a result; if the program is killed or exits
 *  with another status, the failure is the host's, not the image's.
 *  @throws {ToolFailedError}, {NoSpaceError} for a failure of the host. */
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

/** Whether a program failed because of this host, whatever its exit status says about the image. */
function blamesTheHost(output: string): boolean {
  return /No space left on device|Disk quota exceeded|Cannot allocate memory|Too many open files|Permission denied|Operation not permitted|error while loading shared libraries/.test(
    output,
  );
}
