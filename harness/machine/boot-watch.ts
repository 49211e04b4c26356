import { type FailureSeen, FailureWatcher, hasGoneOn } from '../verdict/failures.ts';
import { KernelClock } from '../verdict/kernel-clock.ts';
import { News } from '../verdict/news.ts';
import { questionIn } from '../verdict/questions.ts';
import { type BootStage, isBefore, KERNEL_PREFIX, type StageSeen, StageTracker } from '../verdict/stages.ts';

/** Keys that the harness typed by itself or as a configured answer. */
export interface TypedKeys {
  /** The keys, "\n" for Enter. A secret is replaced by a note. */
  readonly keys: string;
  /** The line that they were typed at. */
  readonly line: string;
  /** Milliseconds since the start of the machine. */
  readonly atMs: number;
  readonly why: string;
}

/** The longest line in characters; text after that is processed as another line. */
const LONGEST_LINE = 4096;

const KERNEL_LINE = new RegExp(KERNEL_PREFIX);

/** Collects what the console and the screen show of a boot: stages, failures, news and questions. */
export class BootWatch {
  /** The stages that the console shows. */
  readonly stages: StageTracker;
  /** The stages that the screen and the processor show. */
  readonly elsewhere = new StageTracker();
  readonly news = new News();
  readonly kernelClock = new KernelClock();
  /** In the order in which they were typed. */
  readonly typed: TypedKeys[] = [];
  readonly #console = new FailureWatcher('console');
  readonly #screen = new FailureWatcher('screen');
  /** The text after the last newline. */
  #rest = '';
  /** The beginning of a line that a kernel message interrupted: the program that wrote it still waits on that line. */
  #cut = '';
  #lastLine = '';
  /** Whether the last line was printed after the boot loader, so that it may be a question. */
  #isAsked = false;
  #newsCount = 0;
  /** The unfinished line that `pause` has already processed. */
  #takenEarly = '';
  #lines = 0;
  #kernelParameters: string | undefined;
  /** The last time at which the machine was known to work. */
  #wellUntilMs = Number.NEGATIVE_INFINITY;

  constructor(onStage?: (seen: StageSeen) => void) {
    this.stages = new StageTracker(onStage);
  }

  /** The stage that the boot reached, from the console, the screen or the processor. */
  get furthest(): BootStage | undefined {
    return this.screenStage ?? this.stages.reached;
  }

  /** The stage that the boot reached if only the screen or the processor shows it. */
  get screenStage(): BootStage | undefined {
    const { reached } = this.elsewhere;
    return reached !== undefined && isBefore(this.stages.reached, reached) ? reached : undefined;
  }

  /** The line with the cursor, without kernel messages that interrupted it; empty if the cursor is at the start of a line. */
  get prompt(): string {
    return this.#cut + this.#rest;
  }

  /** The last complete line that is not empty; a question that ended its line remains the last one if kernel messages follow. */
  get lastLine(): string {
    return this.#lastLine;
  }

  /** The number of complete lines. */
  get lineCount(): number {
    return this.#lines;
  }

  /** How many times the console showed something new. */
  get newsCount(): number {
    return this.#newsCount;
  }

  /** The command line that the kernel printed. */
  get kernelParameters(): string | undefined {
    return this.#kernelParameters;
  }

  /** All failures that were seen, in order. */
  get failures(): readonly FailureSeen[] {
    return [...this.#console.seen, ...this.#screen.seen];
  }

  /** Fatal failures after which the machine has not continued. */
  get fatal(): readonly FailureSeen[] {
    return this.failures.filter((seen) => seen.pattern.severity === 'fatal' && !this.isOver(seen));
  }

  /** Returns whether the machine has continued after the failure. */
  isOver(seen: FailureSeen): boolean {
    return seen.atMs < this.#wellUntilMs || hasGoneOn(seen, this.furthest);
  }

  /** Processes text from the console, without escape sequences. */
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

  /** Processes the lines on the screen. */
  feedScreen(lines: readonly string[], atMs: number): void {
    for (const line of lines) {
      this.elsewhere.line(line, atMs);
      this.#screen.line(line, atMs, this.furthest);
      this.#screen.line(line, atMs, this.furthest, false);
    }
  }

  /** Processes the text after the last newline as a line when the output pauses: it is a prompt, or a growing row of dots.
   *  @param atMs when its last byte came. */
  pause(atMs: number): void {
    if (this.prompt === '') return;
    this.#console.line(this.prompt, atMs, this.furthest, false);
    this.#takenEarly = this.prompt;
    if (this.news.line(this.prompt)) this.#newsCount += 1;
  }

  /** Records that the machine responded: earlier failures have not ended it. */
  isWell(atMs: number): void {
    this.#wellUntilMs = atMs;
  }

  /** Starts over, after a restart of the machine. */
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
    // A question stays open while kernel messages follow it.
    const isOpen = stamp !== null && this.#isAsked && questionIn(this.#lastLine, true) !== undefined;
    if (line.trim() !== '' && this.#cut === '' && !isOpen) {
      this.#lastLine = line;
      this.#isAsked = !isBefore(this.furthest, 'stage 1');
    }
    // A question that is still open is not a complete line.
    if (stamp !== null && stamp.index > 0) this.stages.line(line.slice(0, stamp.index), atMs);
    this.stages.line(whole, atMs);
    this.kernelClock.line(whole, atMs, this.stages.reached);
    this.#console.line(line, atMs, this.furthest);
    // The newline after an unfinished line is not a repetition.
    if (whole !== this.#takenEarly && this.news.line(whole)) this.#newsCount += 1;
    this.#takenEarly = '';
    const parameters = /Kernel command line: (.*)$/.exec(whole)?.[1];
    if (parameters !== undefined) this.#kernelParameters ??= parameters;
  }
}
