/** How long a machine may run without new output. */
export interface HangBudget {
  /** Milliseconds of CPU time in the same place in memory. */
  readonly busyMs: number;
  /** Milliseconds of idleness, or of repeating the same output. */
  readonly idleMs: number;
}

/** What a machine did since the last look. */
export interface Pulse {
  /** Elapsed time. */
  readonly passedMs: number;
  /** CPU time of all threads of QEMU. */
  readonly computedMs: number;
  /** Time spent waiting for a CPU of the host. */
  readonly waitedMs: number;
  /** Whether it printed anything new. */
  readonly saidNews: boolean;
  /** Whether it printed anything. */
  readonly said: boolean;
  /** The address of its current instruction, if QEMU reported it. */
  readonly address: bigint | undefined;
  /** The address space of its current process. */
  readonly space?: bigint | undefined;
  /** Whether it read from or wrote to its disk. */
  readonly usedDisk: boolean;
}

/** How a machine fails to make progress. */
export type Standstill = 'loop' | 'idle' | 'repeats' | 'silent';

/** In a loop, at most these shares of the later addresses are new, and of all addresses are distinct. */
const NEW_IN_LOOP = 0.2;
const DIFFERENT_IN_LOOP = 0.5;
const MIN_ADDRESSES = 20;
/** A loop runs in one process, or in the kernel on behalf of one. */
const SPACES_IN_LOOP = 2;
const MAX_ADDRESSES = 400;
const PAGE_BITS = 12n;

/** A program may compute for this many times the budget of a loop, because generating a large key takes minutes in an emulator. A
 *  program that stays in this few pages may not. */
const PROGRAM_FACTOR = 8;
const TIGHT_PAGES = 2;
/** The Linux kernel's addresses are at or above this page. */
const KERNEL_PAGES = 1n << 51n;

/** A machine that computes in silence for this many times the budget of a loop is believed to hang. */
const SILENT_FACTOR = 20;

/** How many repetitions, with long silences between them, show that a machine repeats itself. */
const MIN_REPETITIONS = 2;

/** A look later than this many intervals is late because the host was suspended. */
const LATE = 3;

/** Distinguishes a machine that hangs from one that is slow, by what it does without new output, not by the clock. Time in which
 *  the host gave the CPU to other processes, or was suspended, does not count. */
export class HangWatch {
  readonly #intervalMs: number;
  busyMs = 0;
  idleMs = 0;
  /** The part of the time without new output in which it repeated itself. */
  repeatedMs = 0;
  /** How many times it repeated itself, and how long it has been silent since. */
  #repetitions = 0;
  #sinceRepetitionMs = 0;
  #pages: bigint[] = [];
  readonly #spaces = new Set<bigint>();

  constructor(intervalMs: number) {
    this.#intervalMs = intervalMs;
  }

  /** Milliseconds without new output, busy and idle. */
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

  /** Evaluates one look at the machine.
   *  @param early whether the kernel has not started yet: firmware and loaders wait for a key in a busy loop, anywhere in memory.
   *  @returns how the machine fails to make progress; undefined if it may still make some. */
  look(pulse: Pulse, budget: HangBudget, early: boolean): Standstill | undefined {
    if (pulse.saidNews) {
      this.reset();
      return undefined;
    }
    const passedMs = Math.min(pulse.passedMs, LATE * this.#intervalMs);
    const computedMs = Math.min(pulse.computedMs, passedMs);
    const busy = pulse.computedMs + pulse.waitedMs > pulse.passedMs / 2;
    // A loader that reads its menu in a loop also reads from the disk.
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
      if (this.#pages.length > MAX_ADDRESSES) this.#pages.shift();
    }
    if (this.repeatedMs > budget.idleMs || (this.#repeatsSeldom && this.silentMs > budget.idleMs)) return 'repeats';
    if (this.idleMs > budget.idleMs) return 'idle';
    if (this.busyMs > budget.busyMs * SILENT_FACTOR) return 'silent';
    const patienceMs = budget.busyMs * (!early && this.#isProgram() ? PROGRAM_FACTOR : 1);
    if (this.busyMs <= patienceMs || !(early || this.#staysInPlace())) return undefined;
    return this.repeatedMs > this.silentMs / 2 ? 'repeats' : 'loop';
  }

  /** Whether it still repeats itself from time to time. A machine that printed something twice and then computes is working. */
  get #repeatsSeldom(): boolean {
    return this.#repetitions >= MIN_REPETITIONS && this.#sinceRepetitionMs < this.silentMs / 2;
  }

  /** Returns whether a program computes, not the kernel and not just a few instructions. */
  #isProgram(): boolean {
    const inPrograms = this.#pages.filter((page) => page < KERNEL_PAGES);
    return inPrograms.length > this.#pages.length / 2 && new Set(inPrograms).size > TIGHT_PAGES;
  }

  /** Returns whether the CPU reaches no new pages: code that works moves through a program, a loop stays in place. */
  #staysInPlace(): boolean {
    const half = Math.floor(this.#pages.length / 2);
    // QEMU reported no addresses.
    if (this.#pages.length === 0) return true;
    if (this.#pages.length < MIN_ADDRESSES) return false;
    const before = new Set(this.#pages.slice(0, half));
    const later = this.#pages.slice(half);
    if (this.#spaces.size > SPACES_IN_LOOP) return false;
    if (new Set(this.#pages).size > this.#pages.length * DIFFERENT_IN_LOOP) return false;
    return later.filter((page) => !before.has(page)).length <= later.length * NEW_IN_LOOP;
  }
}
