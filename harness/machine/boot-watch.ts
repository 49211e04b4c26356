import { type FailureSeen, FailureWatcher, hasGoneOn } from '../verdict/failures.ts';
import { KernelClock } from '../verdict/kernel-clock.ts';
import { News } from '../verdict/news.ts';
import { questionIn } from '../verdict/questions.ts';
import { type BootStage, isBefore, KERNEL_PREFIX, type StageSeen, StageTracker } from '../verdict/stages.ts';

/** Something that was typed without being told to, or as an answer that was given. */
export interface TypedKeys {
  /** As JavaScript would write it: "\n" for Enter. A secret is not shown. */
  readonly keys: string;
  /** The line that it was typed at. */
  readonly line: string;
  /** Milliseconds since the machine was started. */
  readonly atMs: number;
  readonly why: string;
}

/** Characters of a line; what comes behind them is a line of its own. */
const LONGEST_LINE = 4096;

const KERNEL_LINE = new RegExp(KERNEL_PREFIX);

/** Everything that is known of a boot from what its console and its screen show, line by line. */
export class BootWatch {
  /** As the console shows it. */
  readonly stages: StageTracker;
  /** As the screen and the processor show it. */
  readonly elsewhere = new StageTracker();
  readonly news = new News();
  readonly kernelClock = new KernelClock();
  /** In the order in which it was typed. */
  readonly typed: TypedKeys[] = [];
  readonly #console = new FailureWatcher('console');
  readonly #screen = new FailureWatcher('screen');
  /** Behind the last newline. */
  #rest = '';
  /** What a line of the kernel's cut in two: the cursor of whoever wrote it is still behind it. */
  #cut = '';
  #lastLine = '';
  /** Whether the last line was printed after the boot loader had finished. */
  #isAsked = false;
  #newsCount = 0;
  /** What was taken as a line before it ended. */
  #takenEarly = '';
  #lines = 0;
  #kernelParameters: string | undefined;
  /** Until when a machine that has answered was well. */
  #wellUntilMs = Number.NEGATIVE_INFINITY;

  constructor(onStage?: (seen: StageSeen) => void) {
    this.stages = new StageTracker(onStage);
  }

  /** How far the boot came, whoever shows it. */
  get furthest(): BootStage | undefined {
    return this.screenStage ?? this.stages.reached;
  }

  /** How far it came as only the screen or the processor shows it. */
  get screenStage(): BootStage | undefined {
    const { reached } = this.elsewhere;
    return reached !== undefined && isBefore(this.stages.reached, reached) ? reached : undefined;
  }

  /** The line behind which the cursor stands, whoever else wrote in the middle of it; empty at the start of a line. */
  get prompt(): string {
    return this.#cut + this.#rest;
  }

  /** The last line that has ended and is not empty; a question that ended its line, whatever the kernel said behind it. */
  get lastLine(): string {
    return this.#lastLine;
  }

  /** Lines that have ended. */
  get lineCount(): number {
    return this.#lines;
  }

  /** How often something new was said. */
  get newsCount(): number {
    return this.#newsCount;
  }

  /** What the kernel said of its command line. */
  get kernelParameters(): string | undefined {
    return this.#kernelParameters;
  }

  /** Everything wrong that was seen, in order. */
  get failures(): readonly FailureSeen[] {
    return [...this.#console.seen, ...this.#screen.seen];
  }

  /** What ends a boot, and behind which the machine has not gone on. */
  get fatal(): readonly FailureSeen[] {
    return this.failures.filter((seen) => seen.pattern.severity === 'fatal' && !this.isOver(seen));
  }

  /** Whether the machine has gone on after it. */
  isOver(seen: FailureSeen): boolean {
    return seen.atMs < this.#wellUntilMs || hasGoneOn(seen, this.furthest);
  }

  /** Takes text of the console, without escape sequences. */
  feed(text: string, atMs: number): void {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) this.#take(line, atMs);
    while (this.#rest.length > LONGEST_LINE) {
      this.#take(this.#rest.slice(0, LONGEST_LINE), atMs);
      this.#rest = this.#rest.slice(LONGEST_LINE);
    }
    if (this.#rest !== '') this.stages.line(this.#rest, atMs, false);
  }

  /** Takes what the screen shows. */
  feedScreen(lines: readonly string[], atMs: number): void {
    for (const line of lines) {
      this.elsewhere.line(line, atMs);
      this.#screen.line(line, atMs, this.furthest);
      this.#screen.line(line, atMs, this.furthest, false);
    }
  }

  /** Takes what stands behind the last newline as a line of its own, now that nothing more comes: a prompt, or dots that grow.
   *  @param atMs when its last byte came. */
  pause(atMs: number): void {
    if (this.prompt === '') return;
    this.#console.line(this.prompt, atMs, this.furthest, false);
    this.#takenEarly = this.prompt;
    if (this.news.line(this.prompt)) this.#newsCount += 1;
  }

  /** The machine did what it was asked: what was seen before has not ended it. */
  isWell(atMs: number): void {
    this.#wellUntilMs = atMs;
  }

  /** The machine starts again. */
  restart(): void {
    this.stages.restart();
    this.elsewhere.restart();
    this.news.restart();
    this.kernelClock.restart();
    this.#console.restart();
    this.#rest = '';
    this.#cut = '';
    this.#newsCount += 1;
  }

  #take(line: string, atMs: number): void {
    this.#lines += 1;
    const stamp = KERNEL_LINE.exec(line);
    if (stamp === null) this.#cut = '';
    else this.#cut += line.slice(0, stamp.index);
    const whole = stamp === null || stamp.index === 0 ? line : line.slice(stamp.index);
    // A question stays open while the kernel prints messages behind it.
    const isOpen = stamp !== null && this.#isAsked && questionIn(this.#lastLine, true) !== undefined;
    if (line.trim() !== '' && this.#cut === '' && !isOpen) {
      this.#lastLine = line;
      this.#isAsked = !isBefore(this.furthest, 'stage 1');
    }
    // What was asked and is still open is no line that has ended.
    if (stamp !== null && stamp.index > 0) this.stages.line(line.slice(0, stamp.index), atMs);
    this.stages.line(whole, atMs);
    this.kernelClock.line(whole, atMs, this.stages.reached);
    this.#console.line(line, atMs, this.furthest);
    // Its end alone repeats nothing.
    if (whole !== this.#takenEarly && this.news.line(whole)) this.#newsCount += 1;
    this.#takenEarly = '';
    const parameters = /Kernel command line: (.*)$/.exec(whole)?.[1];
    if (parameters !== undefined) this.#kernelParameters ??= parameters;
  }
}
