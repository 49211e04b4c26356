import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { expect, onTestFailed, onTestFinished } from 'vitest';
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
  /** Waits until what the program has printed matches, with the sequences that no screen shows, and returns it. */
  untilPrinted(pattern: RegExp): Promise<string>;
}

interface TerminalOptions {
  readonly columns?: number;
  readonly rows?: number;
  readonly cwd: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** Runs a program, and stays after its end: of a pane that is dead, tmux sometimes does not tell the client what was printed
 *  last. */
const STAYS = ['sh', '-c', '"$@"; echo "The program has ended: $?"; exec cat', 'sh'];
const HAS_ENDED = /^The program has ended: \d+/m;

/** Its client in control mode says when something was printed, so nothing is polled. @see tmux(1), "CONTROL MODE" */
export async function openTerminal(
  argv: readonly string[],
  { columns = 100, rows = 30, cwd, env = {} }: TerminalOptions,
): Promise<Terminal> {
  const server = ['tmux', '-L', `ndi-${randomUUID()}`, '-f', '/dev/null'];
  const variables = { SHELL: '/bin/sh', ...env };
  const tmux = (...args: string[]): Promise<string> => run([...server, ...args], { env: variables });
  // A client has a size of its own, which must not become the window's; and what the program prints first must not be missed.
  await tmux('new-session', '-d', '-x', `${columns}`, '-y', `${rows}`, '-c', cwd, '--', 'cat');
  await tmux('set-option', '-g', 'window-size', 'manual');
  await tmux('set-option', '-g', 'remain-on-exit', 'on');
  const [program = '', ...options] = server;
  const client = spawn(program, [...options, '-C', 'attach-session'], { stdio: 'pipe' });
  const ended = once(client, 'close');
  onTestFinished(async () => {
    client.stdin.end('kill-server\n');
    await ended;
  });
  let [waitedFor, shown] = ['nothing', ''];
  onTestFailed(() => {
    process.stderr.write(`waited for ${waitedFor} on this screen:\n${shown}\n`);
  });
  let said = '';
  client.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  // With what has scrolled off: a line does when tmux says that the program has ended.
  const screen = (): Promise<string> => tmux('capture-pane', '-p', '-S', '-');
  while (!/^%session-changed/m.test(said)) await once(client.stdout, 'data');
  await tmux('respawn-pane', '-k', '-c', cwd, '--', ...STAYS, ...argv);
  return {
    type: async (text) => void (await tmux('send-keys', '-l', '--', text)),
    press: async (...keys) => void (await tmux('send-keys', '--', ...keys)),
    screen,
    async untilPrinted(pattern) {
      for (;;) {
        const printed = printedBy(said);
        [waitedFor, shown] = [`${pattern}`, printed];
        if (pattern.test(printed)) return printed;
        if (HAS_ENDED.test(printed)) expect(printed, 'the program has ended').toMatch(pattern);
        await once(client.stdout, 'data');
      }
    },
    async until(pattern) {
      waitedFor = `${pattern}`;
      for (;;) {
        const before = said;
        shown = await screen();
        if (pattern.test(shown)) return shown;
        if (HAS_ENDED.test(shown) || /^Pane is dead/m.test(shown))
          expect(shown, 'the program has ended').toMatch(pattern);
        if (said === before) await once(client.stdout, 'data');
      }
    },
  };
}

/** What a control client received of a program's output: `%output %0 text`, with octal numbers for control characters. */
function printedBy(said: string): string {
  return [...said.matchAll(/^%output %\d+ (.*)$/gm)]
    .map(([, text = '']) => text.replace(/\\([0-7]{3})/g, (_, octal) => String.fromCharCode(Number.parseInt(octal, 8))))
    .join('');
}
