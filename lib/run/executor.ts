import type { Readable } from 'node:stream';

/** The exit status and output of a command. */
export interface RunResult {
  readonly argv: readonly string[];
  /** Undefined when a signal killed it. */
  readonly exitCode: number | undefined;
  /** `"SIGKILL"`; undefined when it exited. */
  readonly signal: string | undefined;
  /** All of standard output, or only its last `maxOutputBytes` if `onStdout` was given. */
  readonly stdout: Buffer;
  readonly stderr: Buffer;
  readonly durationMs: number;
}

export interface RunOptions {
  /** Standard input; default: empty. */
  readonly input?: string | Uint8Array | Readable | undefined;
  /** Added to the executor's own environment. */
  readonly env?: Readonly<Record<string, string>> | undefined;
  readonly cwd?: string | undefined;
  /** Kills the command and all its child processes. */
  readonly signal?: AbortSignal | undefined;
  /** Called with each chunk as it arrives. The result then keeps only the last `maxOutputBytes`. */
  readonly onStdout?: ((chunk: Buffer) => void) | undefined;
  readonly onStderr?: ((chunk: Buffer) => void) | undefined;
  /** Discards standard output: for a command whose long output nobody needs. */
  readonly discardStdout?: boolean | undefined;
  /** Bytes of each stream kept in the result when it is streamed to a callback; default 64 KiB. */
  readonly maxOutputBytes?: number | undefined;
}

/** Where commands run: this host, the builder VM, a container. No shell: argv arrays only. */
export interface Executor {
  /** For messages: `"this host"`, `"the builder VM"`. */
  readonly name: string;
  /** Whether a path names the same file there as in this process: true for this host, and for a container that mounts
   *  its directories. */
  readonly seesHostFiles?: boolean;
  /** The PATH that it searches, if it runs this host's own programs. */
  readonly searchPath?: () => string;
  /** Runs one command to its end, and returns its exit status without judging it.
   *  @throws {ToolMissingError} when the program does not exist.
   *  @throws {AbortedError} when `options.signal` fired. */
  run(argv: readonly string[], options?: RunOptions): Promise<RunResult>;
}
