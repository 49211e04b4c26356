import { publishCommand, runningStep } from './command-channel.ts';
import { isErrno, wordsFor } from './errno.ts';
import {
  AbortedError,
  DiskImageError,
  InvalidOptionsError,
  NoSpaceError,
  ToolFailedError,
  type ToolFailure,
  UnexpectedStateError,
} from './errors.ts';
import type { Executor, RunOptions, RunResult } from './executor.ts';
import { localExecutor } from './local-executor.ts';

/** An event that a step emits while it runs. */
export type StepEvent =
  | { readonly type: 'start'; readonly step: string; readonly detail?: string }
  | { readonly type: 'command'; readonly step: string; readonly argv: readonly string[]; readonly executor: string }
  | { readonly type: 'output'; readonly step: string; readonly text: string }
  | { readonly type: 'note'; readonly step: string; readonly text: string }
  /** How far a step is that takes long; a few times a second at the most. */
  | { readonly type: 'progress'; readonly step: string; readonly doneBytes: number; readonly totalBytes: number }
  | { readonly type: 'finish'; readonly step: string; readonly durationMs: number; readonly bytes?: number }
  | { readonly type: 'fail'; readonly step: string; readonly durationMs: number; readonly error: unknown };

/** Every step's second argument. */
export interface StepContext {
  /** Default: this host. */
  readonly executor?: Executor | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onEvent?: ((event: StepEvent) => void) | undefined;
}

/** The functions that a step's body uses to run programs and emit events. */
export interface StepRunner {
  readonly step: string;
  readonly executor: Executor;
  readonly signal: AbortSignal | undefined;
  /** Runs a command that must exit with status 0; emits its standard error as events.
   *  @throws {ToolFailedError} otherwise; {NoSpaceError} when its output reports ENOSPC. */
  run(argv: readonly string[], options?: RunOptions & StepRunOptions): Promise<RunResult>;
  /** Like `run`, for a command whose exit status is a result.
   *  @throws {ToolFailedError} when it was killed, or exited with a status that is neither 0 nor in `answers`. */
  tryRun(argv: readonly string[], options: RunOptions & Answers): Promise<RunResult>;
  note(text: string): void;
  /** Reports progress. It may be called often: only some of the calls become events. */
  progress(doneBytes: number, totalBytes: number): void;
  /** Sets the number of bytes that the finish event reports. */
  measured(bytes: number): void;
}

export interface StepRunOptions {
  /** The failure in words, for the message: `"cannot mount /dev/vda1"`. */
  readonly what?: string | undefined;
  readonly hint?: string | undefined;
}

interface Answers extends StepRunOptions {
  /** The exit statuses other than 0 that its manual documents; "any" if it documents none, and the caller treats each
   *  as a failure. */
  readonly answers: readonly number[] | 'any';
}

const OUTPUT_TAIL_BYTES = 4096;
const PROGRESS_INTERVAL_MS = 100;

/** Runs the body of a step, and emits its start and finish events. Throws {AbortedError} before each command if the
 *  signal fired. */
export async function runStep<T>(
  step: string,
  context: StepContext | undefined,
  detail: string | undefined,
  body: (runner: StepRunner) => Promise<T>,
): Promise<T> {
  const executor = context?.executor ?? localExecutor;
  const signal = context?.signal;
  const emit = (event: StepEvent): void => context?.onEvent?.(event);
  const startedAt = performance.now();
  let bytes: number | undefined;
  let progressAt = Number.NEGATIVE_INFINITY;

  const start = async (argv: readonly string[], options: RunOptions): Promise<RunResult> => {
    throwIfAborted(step, signal);
    emit({ type: 'command', step, argv, executor: executor.name });
    publishCommand(argv, executor.name);
    const stderr = lineEmitter((text) => emit({ type: 'output', step, text }));
    // A listener that throws would end the process here, in an event of a stream.
    const listeners = catching();
    const { onStdout } = options;
    const result = await executor.run(argv, {
      ...options,
      signal: options.signal ?? signal,
      onStderr: listeners.guard((chunk) => {
        stderr.push(chunk);
        options.onStderr?.(chunk);
      }),
      ...(onStdout === undefined ? {} : { onStdout: listeners.guard(onStdout) }),
    });
    listeners.rethrow();
    stderr.end();
    return result;
  };

  const runner: StepRunner = {
    step,
    executor,
    signal,
    async tryRun(argv, { answers, what, hint, ...options }) {
      const result = await start(argv, options);
      const { exitCode } = result;
      const isAnswer = exitCode !== undefined && (exitCode === 0 || answers === 'any' || answers.includes(exitCode));
      if (!isAnswer) throw commandFailure(step, executor, result, { what, hint });
      return result;
    },
    async run(argv, options = {}) {
      const result = await start(argv, options);
      if (result.exitCode !== 0) throw commandFailure(step, executor, result, options);
      return result;
    },
    note: (text) => emit({ type: 'note', step, text }),
    progress(doneBytes, totalBytes) {
      const now = performance.now();
      if (now - progressAt < PROGRESS_INTERVAL_MS) return;
      progressAt = now;
      emit({ type: 'progress', step, doneBytes: Math.min(doneBytes, totalBytes), totalBytes });
    },
    measured: (count) => {
      bytes = count;
    },
  };

  if (context?.onEvent !== undefined && typeof context.onEvent !== 'function')
    throw new InvalidOptionsError(step, [{ path: 'onEvent', message: 'must be a function' }]);
  throwIfAborted(step, signal);
  emit(detail === undefined ? { type: 'start', step } : { type: 'start', step, detail });
  const value = await runningStep
    .run(step, () => body(runner))
    .catch((thrown: unknown) => {
      const error = ofStep(step, thrown);
      try {
        emit({ type: 'fail', step, durationMs: performance.now() - startedAt, error });
      } catch {
        // The step's own error says more than that of a listener.
      }
      throw error;
    });
  emit({ type: 'finish', step, durationMs: performance.now() - startedAt, ...(bytes === undefined ? {} : { bytes }) });
  return value;
}

/** Keeps the first error of callbacks for later. */
function catching(): { guard<T>(callback: (value: T) => void): (value: T) => void; rethrow(): void } {
  let thrown: { readonly error: unknown } | undefined;
  return {
    guard: (callback) => (value) => {
      try {
        callback(value);
      } catch (error) {
        thrown ??= { error };
      }
    },
    rethrow() {
      if (thrown !== undefined) throw thrown.error;
    },
  };
}

/** Converts a system error, such as EACCES, into one of this project's, with the step, the path and a description. */
function ofStep(step: string, error: unknown): unknown {
  if (error instanceof DiskImageError || !(error instanceof Error) || !('syscall' in error)) return error;
  const path = 'path' in error ? `${error.path}` : '';
  if (isErrno(error, 'ENOSPC') || isErrno(error, 'EDQUOT'))
    return new NoSpaceError(step, path === '' ? 'the output directory' : path, {}, { cause: error });
  const what = path === '' ? `${error.syscall}` : path;
  return new UnexpectedStateError(step, `${what}: ${wordsFor(error)}`, { cause: error });
}

function throwIfAborted(step: string, signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new AbortedError(step, { cause: signal.reason });
}

/** Makes the error for a command that failed. */
export function commandFailure(
  step: string,
  executor: Executor,
  result: RunResult,
  options: StepRunOptions = {},
): ToolFailedError | NoSpaceError {
  const output = result.stderr.length > 0 ? result.stderr : result.stdout;
  const failure: ToolFailure = {
    step,
    argv: result.argv,
    exitCode: result.exitCode,
    signal: result.signal,
    outputTail: output.subarray(-OUTPUT_TAIL_BYTES).toString('utf8'),
    durationMs: result.durationMs,
    executor: executor.name,
  };
  const failed = new ToolFailedError(failure, options);
  if (/No space left on device|ENOSPC|Disk quota exceeded/.test(failure.outputTail))
    return new NoSpaceError(
      step,
      `the filesystem to which ${result.argv[0]} writes${options.what === undefined ? '' : ` (${options.what})`}`,
      {},
      {
        cause: failed,
        hint: options.hint ?? `free space on ${executor.name}, or, inside an image, set a larger diskSize or bootSize`,
        detail: failed.message,
      },
    );
  return failed;
}

/** Splits a stream of bytes into lines of text, without cutting a UTF-8 sequence. */
function lineEmitter(onLine: (line: string) => void): { push(chunk: Buffer): void; end(): void } {
  const decoder = new TextDecoder();
  let rest = '';
  return {
    push(chunk) {
      rest += decoder.decode(chunk, { stream: true });
      const lines = rest.split('\n');
      rest = (lines.pop() ?? '').slice(-OUTPUT_TAIL_BYTES);
      for (const line of lines) onLine(line);
    },
    end() {
      if (rest !== '') onLine(rest);
      rest = '';
    },
  };
}
