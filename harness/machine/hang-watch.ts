import { type ProcessTimes, processTimes } from '../qemu/process-times.ts';

/** How long a silent machine may go on. */
export interface HangBudget {
  /** Of computing, without a byte shown. */
  readonly busyMs: number;
  /** Of doing nothing. */
  readonly idleMs: number;
}

/** Tells a machine that hangs from one that is slow: by what it computes while it shows nothing, not by the clock. On a
 *  loaded host a machine that waits for a processor ages as slowly as it runs. */
export class HangWatch {
  readonly #pid: number;
  #last: ProcessTimes;
  #lastAt = performance.now();
  #bytes = 0;
  busyMs = 0;
  idleMs = 0;

  constructor(pid: number) {
    this.#pid = pid;
    this.#last = processTimes(pid);
  }

  /** @param bytes that the machine has shown so far.
   *  @returns how it hangs, when it does. */
  look(bytes: number, budget: HangBudget): 'busy' | 'idle' | undefined {
    const now = processTimes(this.#pid);
    const at = performance.now();
    const computed = now.computedMs - this.#last.computedMs;
    const waited = now.waitedMs - this.#last.waitedMs;
    const passed = at - this.#lastAt;
    this.#last = now;
    this.#lastAt = at;
    if (bytes !== this.#bytes) {
      this.#bytes = bytes;
      this.busyMs = 0;
      this.idleMs = 0;
      return undefined;
    }
    if (computed + waited > passed / 2) this.busyMs += computed;
    else this.idleMs += Math.max(0, passed - waited);
    if (this.busyMs > budget.busyMs) return 'busy';
    return this.idleMs > budget.idleMs ? 'idle' : undefined;
  }
}
