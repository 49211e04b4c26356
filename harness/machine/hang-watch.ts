/** How long a machine may go on without saying anything new. */
export interface HangBudget {
  /** Milliseconds of computing in one place. */
  readonly busyMs: number;
  /** Milliseconds of doing nothing, or of saying the same again. */
  readonly idleMs: number;
}

/** What a machine did since it was last looked at. */
export interface Pulse {
  /** By the clock. */
  readonly passedMs: number;
  /** Of all its threads. */
  readonly computedMs: number;
  /** For a processor that the host gave to others. */
  readonly waitedMs: number;
  /** Whether anything came from it that it had not said before. */
  readonly saidNews: boolean;
  /** Whether anything came from it. */
  readonly said: boolean;
  /** The address that its processor was at, where that could be asked. */
  readonly address: bigint | undefined;
  /** Whose memory its processor saw. */
  readonly space?: bigint | undefined;
  /** Whether it read from its disk, or wrote to it. */
  readonly usedDisk: boolean;
}

/** How a machine does not go on. */
export type Standstill = 'loop' | 'idle' | 'repeats' | 'silent';

/** In a loop, so many of the later addresses may be new, and so many of all may be different ones. */
const NEW_IN_LOOP = 0.2;
const DIFFERENT_IN_LOOP = 0.5;
const FEWEST_ADDRESSES = 20;
/** A loop is in one process, or in the kernel on behalf of one. */
const SPACES_IN_LOOP = 2;
const MOST_ADDRESSES = 400;
const PAGE_BITS = 12n;

/** One program may compute for so many times what a loop is given: a large key takes minutes to make in an emulator. Of one that
 *  stays in so few pages nothing is expected. */
const PROGRAM_FACTOR = 8;
const TIGHT_PAGES = 2;
/** Linux's own addresses are above it. */
const KERNEL_PAGES = 1n << 51n;

/** A machine that works in silence for this many times what one in a loop is given is not believed to end. */
const SILENT_FACTOR = 20;

/** So many times it has said the same before it is taken for one that repeats itself, with long silences between. */
const FEWEST_REPETITIONS = 2;

/** A look that comes later than this many times its interval came late because the host stood still, not the machine. */
const LATE = 3;

/** Tells a machine that hangs from one that is slow: by what it does while it says nothing new, not by the clock. On a loaded
 *  host a machine that waits for a processor ages as slowly as it runs; on one that was suspended it does not age. */
export class HangWatch {
  readonly #intervalMs: number;
  busyMs = 0;
  idleMs = 0;
  /** Of the time without news, that in which it repeated itself. */
  repeatedMs = 0;
  /** How often it repeated itself, and how long it has been silent since. */
  #repetitions = 0;
  #sinceRepetitionMs = 0;
  #pages: bigint[] = [];
  readonly #spaces = new Set<bigint>();

  constructor(intervalMs: number) {
    this.#intervalMs = intervalMs;
  }

  /** Milliseconds without news, of computing and of doing nothing. */
  get silentMs(): number {
    return this.busyMs + this.idleMs;
  }

  reset(): void {
    this.busyMs = 0;
    this.idleMs = 0;
    this.repeatedMs = 0;
    this.#repetitions = 0;
    this.#sinceRepetitionMs = 0;
    this.#pages = [];
    this.#spaces.clear();
  }

  /** @param early before the kernel runs: loaders and firmware wait for a key by computing, anywhere in memory.
   *  @returns how the machine stands still, when it does. */
  look(pulse: Pulse, budget: HangBudget, early: boolean): Standstill | undefined {
    if (pulse.saidNews) {
      this.reset();
      return undefined;
    }
    const passedMs = Math.min(pulse.passedMs, LATE * this.#intervalMs);
    const computedMs = Math.min(pulse.computedMs, passedMs);
    const busy = pulse.computedMs + pulse.waitedMs > pulse.passedMs / 2;
    // A loader that reads its menu again and again reads from the disk, too.
    const works = pulse.usedDisk && busy && !early;
    const livedMs = Math.max(0, passedMs - pulse.waitedMs);
    if (busy && !works) this.busyMs += computedMs;
    else if (!busy) this.idleMs += livedMs;
    this.#sinceRepetitionMs += livedMs;
    if (pulse.said && !works) {
      this.repeatedMs += livedMs;
      this.#repetitions += 1;
      this.#sinceRepetitionMs = 0;
    }
    if (busy && pulse.address !== undefined) {
      this.#pages.push(pulse.address >> PAGE_BITS);
      if (pulse.space !== undefined) this.#spaces.add(pulse.space);
      if (this.#pages.length > MOST_ADDRESSES) this.#pages.shift();
    }
    if (this.repeatedMs > budget.idleMs || (this.#repeatsSeldom && this.silentMs > budget.idleMs)) return 'repeats';
    if (this.idleMs > budget.idleMs) return 'idle';
    if (this.busyMs > budget.busyMs * SILENT_FACTOR) return 'silent';
    const patienceMs = budget.busyMs * (!early && this.#isProgram() ? PROGRAM_FACTOR : 1);
    if (this.busyMs <= patienceMs || !(early || this.#staysInPlace())) return undefined;
    return this.repeatedMs > this.silentMs / 2 ? 'repeats' : 'loop';
  }

  /** Whether it says the same from time to time, and still does: who said something twice and then computes is at work. */
  get #repeatsSeldom(): boolean {
    return this.#repetitions >= FEWEST_REPETITIONS && this.#sinceRepetitionMs < this.silentMs / 2;
  }

  /** Whether what computes is a program, and not the kernel, nor a few instructions. */
  #isProgram(): boolean {
    const inPrograms = this.#pages.filter((page) => page < KERNEL_PAGES);
    return inPrograms.length > this.#pages.length / 2 && new Set(inPrograms).size > TIGHT_PAGES;
  }

  /** Whether the processor comes to no new places: what works goes through a program, what is in a loop stays in it. */
  #staysInPlace(): boolean {
    const half = Math.floor(this.#pages.length / 2);
    // Nobody could be asked where it is.
    if (this.#pages.length === 0) return true;
    if (this.#pages.length < FEWEST_ADDRESSES) return false;
    const before = new Set(this.#pages.slice(0, half));
    const later = this.#pages.slice(half);
    if (this.#spaces.size > SPACES_IN_LOOP) return false;
    if (new Set(this.#pages).size > this.#pages.length * DIFFERENT_IN_LOOP) return false;
    return later.filter((page) => !before.has(page)).length <= later.length * NEW_IN_LOOP;
  }
}
