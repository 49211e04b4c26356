import cliTruncate from 'cli-truncate';
import ora, { type Ora } from 'ora';
import type { StepEvent } from '../lib/run/step.ts';
import { formatBytes, formatDuration } from '../lib/units.ts';
import { hasColours } from './colours.ts';
import { type Transfer, transferText } from './transfer.ts';

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

type Amounts = Pick<Transfer, 'doneBytes' | 'totalBytes'>;

/** Columns that the sign before a line takes. */
const SIGN_COLUMNS = 2;
/** Between the name of a step and its bar. */
const GAP = '  ';

/** Shows steps as they go, on standard error: a live line on a terminal, cut to its width; a plain line for each elsewhere. */
export class Progress {
  readonly #shown: Shown;
  readonly #terminal: boolean;
  #spinner: Ora | undefined;
  #startedAt = 0;
  #text = '';
  #timer: NodeJS.Timeout | undefined;
  #transfer: Amounts | undefined;
  #transferStartedAt = 0;
  #step = '';

  constructor(options: { readonly shown: Shown; readonly terminal?: boolean }) {
    this.#shown = options.shown;
    this.#terminal = options.terminal ?? isLiveTerminal();
  }

  readonly onEvent = (event: StepEvent): void => {
    switch (event.type) {
      case 'start':
        this.#step = event.step;
        this.begin(event.detail === undefined ? event.step : `${event.step}  ${event.detail}`);
        break;
      case 'finish':
        this.#end(
          'succeed',
          this.#text,
          `${GAP}${formatDuration(event.durationMs)}${event.bytes === undefined ? '' : `, ${formatBytes(event.bytes)}`}`,
        );
        break;
      case 'fail':
        this.fail();
        break;
      case 'progress':
        if (this.#transfer === undefined) this.#transferStartedAt = performance.now();
        this.#transfer = event;
        this.#draw();
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
    this.#transfer = undefined;
    this.#startedAt = performance.now();
    if (!this.#terminal || this.#shown === 'failures') return;
    this.#spinner = ora({
      text: this.#cut(text),
      // chalk, which colours the sign, does not know NO_COLOR.
      color: hasColours(process.stderr) ? 'cyan' : false,
      ...{ stream: process.stderr, discardStdin: false },
    }).start();
    this.#timer = setInterval(() => this.#draw(), 200);
  }

  #draw(): void {
    if (this.#spinner === undefined) return;
    this.#spinner.text =
      this.#transfer === undefined
        ? this.#cut(this.#text, `${GAP}${formatDuration(performance.now() - this.#startedAt)}`)
        : this.#transferLine(this.#transfer);
  }

  #transferLine({ doneBytes, totalBytes }: Amounts): string {
    const elapsedMs = performance.now() - this.#transferStartedAt;
    const room = this.#columns - this.#step.length - GAP.length;
    return this.#cut(`${this.#step}${GAP}${transferText({ doneBytes, totalBytes, elapsedMs }, room)}`);
  }

  get #columns(): number {
    return (process.stderr.columns ?? Number.POSITIVE_INFINITY) - SIGN_COLUMNS;
  }

  /** On one line: the text without its end where it does not fit, and what comes behind. */
  #cut(text: string, behind = ''): string {
    if (!this.#terminal) return `${text}${behind}`;
    return `${cliTruncate(text, Math.max(1, this.#columns - behind.length))}${behind}`;
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
    const after = formatDuration(performance.now() - this.#startedAt);
    if (this.#text !== '') this.#end('fail', this.#text, `${GAP}failed after ${after}`);
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

  #end(how: 'succeed' | 'fail', text: string, behind = ''): void {
    clearInterval(this.#timer);
    const line = this.#cut(text, behind);
    if (this.#spinner !== undefined) this.#spinner[how](line);
    else if (how === 'fail' || this.#shown !== 'failures')
      process.stderr.write(`${how === 'succeed' ? 'done' : 'FAILED'}${GAP}${line}\n`);
    this.#spinner = undefined;
    this.#text = '';
  }
}
