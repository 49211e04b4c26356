import { AbortedError } from '../run/errors.ts';
import { formatDuration } from '../units.ts';
import { type Finding, finding } from './finding.ts';

/** How long inspect and diff look at an image, unless they are told otherwise. */
export const DEFAULT_BUDGET_MS = 60_000;
/** The same where filesystems' own checkers run. */
export const DEEP_BUDGET_MS = 600_000;

/** The time is over, or an image has more than is looked at. */
class BudgetSpent extends Error {}

/** What may be spent on an image: an image's author must not be able to keep a reader busy. Where it ends, the rest is left
 *  out, and that is reported. */
export class Budget implements Disposable {
  readonly #step: string;
  readonly #user: AbortSignal | undefined;
  readonly #deadline = new AbortController();
  readonly #timer: NodeJS.Timeout;
  readonly #endsAt: number;
  readonly #milliseconds: number;
  readonly #leftOut: string[] = [];
  /** Fires when the caller calls off, and when the time is over: every command gets it. */
  readonly signal: AbortSignal;

  constructor(step: string, user: AbortSignal | undefined, milliseconds: number) {
    this.#step = step;
    this.#user = user;
    this.#milliseconds = milliseconds;
    this.#endsAt = performance.now() + milliseconds;
    this.#timer = setTimeout(() => this.#deadline.abort(new BudgetSpent('time')), milliseconds);
    this.#timer.unref();
    this.signal = user === undefined ? this.#deadline.signal : AbortSignal.any([user, this.#deadline.signal]);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }

  /** To be called in every loop whose length an image decides.
   *  @throws {AbortedError} when the caller called off; {BudgetSpent} when the time is over. */
  check(): void {
    if (this.#user?.aborted) throw new AbortedError(this.#step, { cause: this.#user.reason });
    // A loop without a pause keeps the timer from firing.
    if (performance.now() > this.#endsAt) {
      this.#deadline.abort(new BudgetSpent('time'));
      throw new BudgetSpent('time');
    }
  }

  /** Looks at a part of an image. When the time ends in it, the part is left out, with a word.
   *  @param what for the report: "the generations of partition 2". */
  async part<T>(what: string, otherwise: T, look: () => Promise<T>): Promise<T> {
    try {
      this.check();
      return await look();
    } catch (error) {
      if (this.#user?.aborted) throw new AbortedError(this.#step, { cause: this.#user.reason });
      const isOver = this.#deadline.signal.aborted && (error instanceof AbortedError || error instanceof BudgetSpent);
      if (!isOver) throw error;
      this.leaveOut(`${what}: the ${formatDuration(this.#milliseconds)} for this image are over`);
      return otherwise;
    }
  }

  leaveOut(what: string): void {
    if (!this.#leftOut.includes(what)) this.#leftOut.push(what);
  }

  get leftOut(): readonly string[] {
    return this.#leftOut;
  }

  get findings(): Finding[] {
    return this.#leftOut.map((what) =>
      finding('not-looked-at-further', 'warning', 'firmware', `not looked at further: ${what}`, undefined),
    );
  }
}
