import { AbortedError } from '../run/errors.ts';
import { formatDuration } from '../units.ts';
import { type Finding, finding } from './finding.ts';

/** The default time limit of inspect and diff. */
export const DEFAULT_BUDGET_MS = 60_000;
/** The default time limit when filesystem checkers run. */
export const DEEP_BUDGET_MS = 600_000;

/** The time limit was reached. */
class BudgetSpent extends Error {}

/** A longer timer would end at once. @see https://nodejs.org/docs/latest-v20.x/api/timers.html */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** Limits the work for one image, because a hostile image must not keep the reader busy. When a limit is reached, the
 *  rest is skipped and reported. */
export class Budget implements Disposable {
  readonly #step: string;
  readonly #user: AbortSignal | undefined;
  readonly #deadline = new AbortController();
  readonly #timer: NodeJS.Timeout;
  readonly #endsAt: number;
  readonly #milliseconds: number;
  readonly #leftOut: string[] = [];
  /** Fires when the caller aborts, and when the time limit is reached. Every command gets it. */
  readonly signal: AbortSignal;

  constructor(step: string, user: AbortSignal | undefined, milliseconds: number) {
    this.#step = step;
    this.#user = user;
    this.#milliseconds = milliseconds;
    this.#endsAt = performance.now() + milliseconds;
    this.#timer = setTimeout(
      () => this.#deadline.abort(new BudgetSpent('time')),
      Math.min(milliseconds, LONGEST_TIMER_MS),
    );
    this.#timer.unref();
    this.signal = user === undefined ? this.#deadline.signal : AbortSignal.any([user, this.#deadline.signal]);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }

  /** Must be called in every loop whose length depends on the image.
   *  @throws {AbortedError} when the caller aborted; {BudgetSpent} when the time limit is reached. */
  check(): void {
    if (this.#user?.aborted) throw new AbortedError(this.#step, { cause: this.#user.reason });
    // A synchronous loop keeps the timer from firing.
    if (performance.now() > this.#endsAt) {
      this.#deadline.abort(new BudgetSpent('time'));
      throw new BudgetSpent('time');
    }
  }

  /** Examines a part of an image. If the time limit is reached meanwhile, the part is skipped and reported, and
   *  `otherwise` is returned.
   *  @param what names the part in the report: "the generations of partition 2". */
  async part<T>(what: string, otherwise: T, look: () => Promise<T>): Promise<T> {
    try {
      this.check();
      return await look();
    } catch (error) {
      if (this.#user?.aborted) throw new AbortedError(this.#step, { cause: this.#user.reason });
      const isOver = this.#deadline.signal.aborted && (error instanceof AbortedError || error instanceof BudgetSpent);
      if (!isOver) throw error;
      this.leaveOut(`${what}: the time limit of ${formatDuration(this.#milliseconds)} was reached`);
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
