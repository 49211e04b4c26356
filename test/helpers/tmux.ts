import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { expect, onTestFailed, onTestFinished } from 'vitest';
import { quoteForDisplay } from '../../lib/run/errors.ts';
import { run } from './run.ts';

/** A program in a terminal of tmux, as a person has it. */
export interface Terminal {
  /** Types text, as it is. */
  type(text: string): Promise<void>;
  /** Presses keys, by tmux's names: Tab, Enter, C-u. */
  press(...keys: string[]): Promise<void>;
  /** Waits until the screen shows what matches, and returns it. Fails when the program ends before. */
  until(pattern: RegExp): Promise<string>;
  screen(): Promise<string>;
  /** Writes down what the program prints from now on, byte for byte. */
  record(file: string): Promise<void>;
}

interface TerminalOptions {
  readonly columns?: number;
  readonly rows?: number;
  readonly cwd: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** Its client in control mode says when something was printed, so nothing is polled. @see tmux(1), "CONTROL MODE" */
export async function openTerminal(
  argv: readonly string[],
  { columns = 100, rows = 30, cwd, env = {} }: TerminalOptions,
): Promise<Terminal> {
  const server = ['tmux', '-L', `ndi-${randomUUID()}`, '-f', '/dev/null'];
  const tmux = (...args: string[]): Promise<string> => run([...server, ...args]);
  const [program = '', ...options] = server;
  const client = spawn(
    program,
    [...options, '-C', 'new-session', '-x', `${columns}`, '-y', `${rows}`, '-c', cwd, '--', ...argv],
    { stdio: 'pipe', env: { ...process.env, SHELL: '/bin/sh', ...env } },
  );
  const ended = once(client, 'close');
  onTestFinished(async () => {
    client.stdin.end('kill-server\n');
    await ended;
  });
  let [waitedFor, shown] = ['nothing', ''];
  onTestFailed(() => {
    process.stderr.write(`waited for ${waitedFor} on this screen:\n${shown}\n`);
  });
  let printed = 0;
  client.stdout.on('data', () => {
    printed += 1;
  });
  const screen = (): Promise<string> => tmux('capture-pane', '-p');
  await once(client.stdout, 'data');
  await tmux('set-option', '-g', 'remain-on-exit', 'on');
  return {
    type: async (text) => void (await tmux('send-keys', '-l', '--', text)),
    press: async (...keys) => void (await tmux('send-keys', '--', ...keys)),
    screen,
    record: async (file) => void (await tmux('pipe-pane', '-O', `exec cat > ${quoteForDisplay(file)}`)),
    async until(pattern) {
      waitedFor = `${pattern}`;
      for (;;) {
        const before = printed;
        shown = await screen();
        if (pattern.test(shown)) return shown;
        if (/^Pane is dead/m.test(shown)) expect(shown, 'the program has ended').toMatch(pattern);
        if (printed === before) await once(client.stdout, 'data');
      }
    },
  };
}
