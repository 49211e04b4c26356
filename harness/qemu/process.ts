import { killOnExit } from '../../lib/run/kill-on-exit.ts';
import { requireTool } from '../../lib/run/tools.ts';
import { SerialConsole } from '../console/serial-console.ts';
import { ARCHITECTURES, type Architecture } from './architecture.ts';
import { loadNodePty } from './node-pty.ts';

/** A running QEMU on a pty. */
export interface QemuProcess {
  readonly pid: number;
  readonly argv: readonly string[];
  /** Resolves when QEMU has ended; never rejects. */
  readonly exited: Promise<{ readonly exitCode: number | undefined; readonly signal: string | undefined }>;
  isAlive(): boolean;
  write(data: string): void;
  kill(): void;
  /** Stops reading output until `resume`; the guest waits. */
  pause(): void;
  resume(): void;
  /** Resizes the terminal. Ignores a size of zero, which a terminal of unknown size reports. */
  resize(columns: number, rows: number): void;
}

const SIGNALS: Readonly<Record<number, string>> = {
  1: 'SIGHUP',
  2: 'SIGINT',
  6: 'SIGABRT',
  9: 'SIGKILL',
  11: 'SIGSEGV',
  15: 'SIGTERM',
};

/** Starts QEMU on a pty. Closing the pty ends QEMU, so that it never outlives this process. */
export async function startQemu(
  args: readonly string[],
  onData: (data: Uint8Array) => void,
  architecture: Architecture = 'x86_64',
): Promise<QemuProcess> {
  // node-pty does not fail for a missing program: the pty prints a line and exits with status 1.
  const program = await requireTool('startQemu', ARCHITECTURES[architecture].qemu);
  const { spawn: spawnPty } = await loadNodePty();
  const pty = spawnPty(program, [...args], {
    name: 'xterm-256color',
    cols: SerialConsole.columns,
    rows: SerialConsole.rows,
    cwd: '/',
    env: { ...process.env, LC_ALL: 'C.UTF-8' },
    encoding: null,
  });
  let alive = true;
  // With `encoding: null` the data are Buffers, although the type says string.
  pty.onData((data) => onData(data as unknown as Buffer));
  const kill = (): void => {
    if (!alive) return;
    try {
      process.kill(pty.pid, 'SIGKILL');
    } catch {
      // QEMU has just ended.
    }
  };
  const callOff = killOnExit(kill);
  const exited = new Promise<{ exitCode: number | undefined; signal: string | undefined }>((resolve) => {
    pty.onExit(({ exitCode, signal }) => {
      alive = false;
      callOff();
      const killed = signal !== undefined && signal !== 0;
      resolve({
        exitCode: killed ? undefined : exitCode,
        signal: killed ? (SIGNALS[signal] ?? `signal ${signal}`) : undefined,
      });
    });
  });
  return {
    pid: pty.pid,
    argv: [program, ...args],
    exited,
    isAlive: () => alive,
    write: (data) => {
      if (alive) pty.write(data);
    },
    kill,
    pause: () => pty.pause(),
    resume: () => pty.resume(),
    resize: (columns, rows) => {
      if (!alive || !(columns >= 1 && rows >= 1)) return;
      try {
        pty.resize(columns, rows);
      } catch {
        // QEMU has just ended.
      }
    },
  };
}
