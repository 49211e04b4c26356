import type { Readable } from 'node:stream';

/** How a command ended, and what it printed. */
export interface RunResult {
  readonly argv: readonly string[];
  /** Undefined when a signal ended it. */
  readonly exitCode: number | undefined;
  /** `"SIGKILL"`; undefined when it exited. */
  readonly signal: string | undefined;
  /** All of standard output; only its last `maxOutputBytes` where `onStdout` was given. */
  readonly stdout: Buffer;
  readonly stderr: Buffer;
  readonly durationMs: number;
}

export interface RunOptions {
  /** Standard input; default: empty. */
  readonly input?: string | Uint8Array | Readable | undefined;
  /** Set on top of the executor's own environment. */
  readonly env?: Readonly<Record<string, string>> | undefined;
  readonly cwd?: string | undefined;
  /** Kills the command, with all that it started. */
  readonly signal?: AbortSignal | undefined;
  /** Called with each piece as it comes. The result then keeps only the last `maxOutputBytes`. */
  readonly onStdout?: ((chunk: Buffer) => void) | undefined;
  readonly onStderr?: ((chunk: Buffer) => void) | undefined;
  /** Throws standard output away: for a command that says much and nothing of interest. */
  readonly discardStdout?: boolean | undefined;
  /** Bytes of each stream kept in the result when it is streamed to a callback; default 64 KiB. */
  readonly maxOutputBytes?: number | undefined;
}

/** Where commands run: this host, the builder VM, a container. No shell: argv arrays only. */
export interface Executor {
  /** For messages: `"this host"`, `"the builder VM"`. */
  readonly name: string;
  /** Whether a path there names the same file as in this process: of this host, and of a container that has its directories. */
  readonly seesHostFiles?: boolean;
  /** PATH as it searches it, where its programs are this host's own. */
  readonly searchPath?: () => string;
  /** Runs one command to its end, whatever its exit status.
   *  @throws {ToolMissingError} when there is no such program.
   *  @throws {AbortedError} when `options.signal` fired. */
  run(argv: readonly string[], options?: RunOptions): Promise<RunResult>;
}
