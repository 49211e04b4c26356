import ora, { type Ora } from 'ora';
import type { StepEvent } from '../lib/run/step.ts';
import { formatBytes, formatDuration } from '../lib/units.ts';

/** Whether a line can be drawn over again: not on a terminal without a size, such as Nix gives to a build. */
export function isLiveTerminal(
  stream: { readonly isTTY?: boolean; readonly columns?: number } = process.stderr,
  term = process.env.TERM,
): boolean {
  return stream.isTTY === true && (stream.columns ?? 0) > 0 && term !== 'dumb';
}

/** How much is shown: failures alone, each step, or each command with its output as well. */
export type Shown = 'failures' | 'steps' | 'commands';

export function shownBy(flags: { readonly quiet?: boolean; readonly verbose?: boolean }): Shown {
  if (flags.quiet === true) return 'failures';
  return flags.verbose === true ? 'commands' : 'steps';
}

/** Shows steps as they go, on standard error: a live line on a terminal, a plain line for each elsewhere. */
export class Progress {
  readonly #shown: Shown;
  readonly #terminal: boolean;
  #spinner: Ora | undefined;
  #startedAt = 0;
  #text = '';
  #timer: NodeJS.Timeout | undefined;

  constructor(options: { readonly shown: Shown; readonly terminal?: boolean }) {
    this.#shown = options.shown;
    this.#terminal = options.terminal ?? isLiveTerminal();
  }

  readonly onEvent = (event: StepEvent): void => {
    switch (event.type) {
      case 'start':
        this.begin(event.detail === undefined ? event.step : `${event.step}  ${event.detail}`);
        break;
      case 'finish':
        this.#end(
          'succeed',
          `${this.#text}  ${formatDuration(event.durationMs)}${event.bytes === undefined ? '' : `, ${formatBytes(event.bytes)}`}`,
        );
        break;
      case 'fail':
        this.fail();
        break;
      case 'note':
        this.note(`  ${event.text}`);
        break;
      case 'command':
        if (this.#shown === 'commands')
          this.line(`  $ ${event.argv.map((word) => (word.includes('\n') ? '(script)' : word)).join(' ')}`);
        break;
      case 'output':
        if (this.#shown === 'commands') this.line(`  | ${event.text}`);
        break;
    }
  };

  /** Something that takes time begins. */
  begin(text: string): void {
    this.#text = text;
    this.#startedAt = performance.now();
    if (!this.#terminal || this.#shown === 'failures') return;
    this.#spinner = ora({ text, stream: process.stderr, discardStdin: false }).start();
    this.#timer = setInterval(() => {
      if (this.#spinner !== undefined)
        this.#spinner.text = `${this.#text}  ${formatDuration(performance.now() - this.#startedAt)}`;
    }, 200);
  }

  /** The same thing has come further. */
  stage(text: string): void {
    this.#text = text;
    if (!this.#terminal && this.#shown !== 'failures')
      process.stderr.write(`      ${text}  ${formatDuration(performance.now() - this.#startedAt)}\n`);
  }

  /** It ended well. */
  succeed(text: string): void {
    this.#end('succeed', text);
  }

  /** What runs has failed, if anything runs. */
  fail(): void {
    if (this.#text !== '')
      this.#end('fail', `${this.#text}  failed after ${formatDuration(performance.now() - this.#startedAt)}`);
  }

  /** A line for people who watch. */
  note(text: string): void {
    if (this.#shown !== 'failures') this.line(text);
  }

  /** A line that was asked for. */
  line(text: string): void {
    const running = this.#spinner;
    running?.clear();
    process.stderr.write(`${text}\n`);
    running?.render();
  }

  #end(how: 'succeed' | 'fail', text: string): void {
    clearInterval(this.#timer);
    if (this.#spinner !== undefined) this.#spinner[how](text);
    else if (how === 'fail' || this.#shown !== 'failures')
      process.stderr.write(`${how === 'succeed' ? 'done' : 'FAILED'}  ${text}\n`);
    this.#spinner = undefined;
    this.#text = '';
  }
}
