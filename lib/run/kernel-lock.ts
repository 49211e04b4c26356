import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, openSync } from 'node:fs';
import { isErrno } from './errno.ts';
import { AbortedError, UnexpectedStateError } from './errors.ts';
import { killOnExit } from './kill-on-exit.ts';
import { requireTool } from './tools.ts';

/** A lock on a file. The kernel drops it when its holder dies, however that happens, and it holds across the containers and PID
 *  namespaces that share the file, in which process ids mean nothing. */
export interface KernelLock extends Disposable {
  readonly file: string;
}

const STEP = 'lock';

/** Takes the lock if it is free. Makes the file where there is none; it is never removed, for others may be waiting with it open.
 *  @returns undefined when somebody else holds it.
 *  @see flock(1), flock(2). Runs: flock. */
export function tryLock(file: string): Promise<KernelLock | undefined> {
  return lock(file, ['--nonblock']);
}

/** As `tryLock`, for a file that is there: whoever removes its directory would find one that is made anew.
 *  @returns undefined when it is not there. Runs: flock. */
export async function tryLockOf(file: string): Promise<KernelLock | undefined> {
  try {
    return await lock(file, ['--nonblock'], undefined, 0);
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return undefined;
    throw error;
  }
}

/** Takes the lock, when it is free: the kernel wakes whoever waits.
 *  @throws {AbortedError}
 *  Runs: flock. */
export async function waitForLock(file: string, signal?: AbortSignal): Promise<KernelLock> {
  const held = await lock(file, [], signal);
  if (held === undefined) throw new UnexpectedStateError(STEP, `flock(1) ended without a lock on ${file}`);
  return held;
}

/** flock(1) locks what this process has open, and ends. The lock stays as long as this process has it open; its other children do
 *  not inherit it. */
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
    const child = spawn(flock, [...args, '3'], {
      stdio: ['ignore', 'ignore', 'pipe', fd],
      // A terminal's Ctrl-C is this process's to handle.
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

/** A number, not a FileHandle, which is closed, and its lock lost, once nothing refers to it. Writing is not meant, but NFS has
 *  exclusive locks only for files that are open for it. */
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
