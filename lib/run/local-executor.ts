import { existsSync } from 'node:fs';
import { ExecaError, execa } from 'execa';
import { wordsFor } from './errno.ts';
import { AbortedError, ToolMissingError, UnexpectedStateError } from './errors.ts';
import type { Executor, RunOptions, RunResult } from './executor.ts';
import { killOnExit } from './kill-on-exit.ts';
import { OutputCollector } from './output-collector.ts';
import { searchPath } from './search-path.ts';
import { packageHint } from './tools.ts';
import { userEnvironment } from './user-environment.ts';

/** Runs commands on this host with execa, in the C locale. Each has its own process group, which an abort kills as a
 *  whole. */
export const localExecutor: Executor = {
  name: 'this host',
  seesHostFiles: true,
  searchPath,
  async run(argv, options = {}) {
    const [tool, ...args] = argv;
    if (tool === undefined) throw new RangeError('run needs a program to run');
    if (options.signal?.aborted) throw new AbortedError(tool, { cause: options.signal.reason });
    const startedAt = performance.now();
    const subprocess = execa(tool, args, {
      ...inputOption(options),
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      env: { LC_ALL: 'C.UTF-8', PATH: searchPath(), ...userEnvironment(), ...options.env },
      stdout: options.discardStdout === true ? 'ignore' : 'pipe',
      encoding: 'buffer',
      // Collected below: execa would stop at its own limit, or keep output that is only to be streamed.
      buffer: false,
      reject: false,
      stripFinalNewline: false,
      // A separate process group: a terminal's Ctrl-C reaches only this process, which then stops its commands in
      // order.
      detached: true,
    });
    const stdout = new OutputCollector(options.onStdout, options.maxOutputBytes);
    const stderr = new OutputCollector(options.onStderr, options.maxOutputBytes);
    subprocess.stdout?.on('data', stdout.push);
    subprocess.stderr?.on('data', stderr.push);
    const killGroup = (): void => {
      if (subprocess.pid === undefined) return;
      try {
        process.kill(-subprocess.pid, 'SIGKILL');
      } catch {
        // Already gone.
      }
    };
    options.signal?.addEventListener('abort', killGroup, { once: true });
    const callOff = killOnExit(killGroup);
    try {
      const result = await subprocess;
      if (options.signal?.aborted) throw new AbortedError(tool, { cause: options.signal.reason });
      if (result instanceof ExecaError && result.exitCode === undefined && result.signal === undefined)
        throw spawnFailure(tool, result, result.code, options);
      return {
        argv,
        exitCode: result.exitCode,
        signal: result.signal,
        stdout: stdout.bytes(),
        stderr: stderr.bytes(),
        durationMs: performance.now() - startedAt,
      } satisfies RunResult;
    } finally {
      options.signal?.removeEventListener('abort', killGroup);
      callOff();
    }
  },
};

function inputOption(
  options: RunOptions,
): { stdin: 'ignore' } | { input: string | Uint8Array | import('node:stream').Readable } {
  return options.input === undefined ? { stdin: 'ignore' } : { input: options.input };
}

function spawnFailure(tool: string, error: Error, code: string | undefined, options: RunOptions): Error {
  // ENOENT may refer to the program or to its working directory.
  if (options.cwd !== undefined && !existsSync(options.cwd))
    return new UnexpectedStateError('run', `${options.cwd}: it does not exist`, { cause: error });
  if (code === 'ENOENT') return new ToolMissingError('run', tool, { cause: error, hint: packageHint(tool) });
  return new UnexpectedStateError('run', `${tool} could not be started: ${wordsFor(error)}`, { cause: error });
}
