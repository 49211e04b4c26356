import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, openSync } from 'node:fs';
import { publishCommand } from './command-channel.ts';
import { isErrno } from './errno.ts';
import { AbortedError, UnexpectedStateError } from './errors.ts';
import { killOnExit } from './kill-on-exit.ts';
import { localExecutor } from './local-executor.ts';
import { requireTool } from './tools.ts';

/** A lock on a file. The kernel releases it when its holder dies for any reason. It also works between containers and
 *  PID namespaces that share the file, where process IDs are not comparable. */
export interface KernelLock extends Disposable {
  readonly file: string;
}

const STEP = 'lock';

/** Takes the lock if it is free. Creates the file if it does not exist; it is never removed, because others may have it
 *  open and wait for the lock.
 *  @returns undefined when another process holds it.
 *  @see flock(1), flock(2). Runs: flock. */
export function tryLock(file: string): Promise<KernelLock | undefined> {
  return lock(file, ['--nonblock']);
}

/** Like `tryLock`, but does not create the file, because another process may be removing its directory.
 *  @returns undefined also when the file does not exist. Runs: flock. */
export async function tryLockOf(file: string): Promise<KernelLock | undefined> {
  try {
    return await lock(file, ['--nonblock'], undefined, 0);
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return undefined;
    throw error;
  }
}

/** Waits until the lock is free, and takes it.
 *  @throws {AbortedError}
 *  Runs: flock. */
export async function waitForLock(file: string, signal?: AbortSignal): Promise<KernelLock> {
  const held = await lock(file, [], signal);
  if (held === undefined) throw new UnexpectedStateError(STEP, `flock(1) exited without locking ${file}`);
  return held;
}

/** Runs flock(1) on a file descriptor of this process. The lock outlives flock(1), until this process closes the
 *  descriptor, which its other children do not inherit. */
async function lock(
  file: string,
  args: readonly string[],
  signal?: AbortSignal,
  make = constants.O_CREAT,
): Promise<KernelLock | undefined> {
  const flock = await requireTool(STEP, 'flock');
  if (signal?.aborted) throw new AbortedError(STEP, { cause: signal.reason });
  const fd = openForLock(file, make);
  let held = false;
  try {
    publishCommand(['flock', ...args, '3'], localExecutor.name);
    const child = spawn(flock, [...args, '3'], {
      stdio: ['ignore', 'ignore', 'pipe', fd],
      // This process handles a terminal's Ctrl-C.
      detached: true,
    });
    const { exitCode, complaint } = await end(child, signal);
    held = exitCode === 0;
    if (held) return { file, [Symbol.dispose]: () => closeSync(fd) };
    if (signal?.aborted) throw new AbortedError(STEP, { cause: signal.reason });
    if (exitCode === 1) return undefined;
    throw new UnexpectedStateError(STEP, `flock(1) cannot lock ${file}`, { detail: complaint });
  } finally {
    if (!held) closeSync(fd);
  }
}

/** Returns a plain file descriptor: a FileHandle is closed, and its lock lost, when it is garbage collected. The file
 *  is opened for writing because NFS requires that for exclusive locks. */
function openForLock(file: string, make: number): number {
  const flags = make | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  try {
    return openSync(file, flags | constants.O_RDWR, 0o666);
  } catch {
    return openSync(file, flags | constants.O_RDONLY, 0o666);
  }
}

async function end(
  child: ChildProcess,
  signal: AbortSignal | undefined,
): Promise<{ readonly exitCode: number | null; readonly complaint: string }> {
  let complaint = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    complaint += text;
  });
  const kill = (): void => {
    child.kill('SIGKILL');
  };
  signal?.addEventListener('abort', kill, { once: true });
  const callOff = killOnExit(kill);
  try {
    const [exitCode] = (await once(child, 'close')) as [number | null];
    return { exitCode, complaint };
  } finally {
    signal?.removeEventListener('abort', kill);
    callOff();
  }
}
