import { type BootStage, isBefore, KERNEL_PREFIX } from './stages.ts';

const STAMP = new RegExp(`^${KERNEL_PREFIX}`);
const SECONDS = /\[ *(\d+\.\d+)\]/;

/** The time that the kernel wrote before a line, in milliseconds; undefined where it wrote none. @see printk.time */
export function kernelStamp(line: string): number | undefined {
  const seconds = SECONDS.exec(STAMP.exec(line)?.[0] ?? '')?.[1];
  return seconds === undefined ? undefined : Number(seconds) * 1000;
}

/** What the kernel's own clock says of a boot. In an emulated machine it may run faster or slower than the host's. */
export interface KernelTimes {
  /** When that clock was at zero, in milliseconds since the machine was started: as the first line with its time came. */
  readonly startedAtMs: number;
  /** Milliseconds of that clock until the first program ran: its last line before that one's. */
  readonly userspaceMs: number;
}

/** Reads the kernel's clock from the lines of a console as they come. Of a kernel that is quiet it knows nothing: the few lines
 *  that are shown do not say when the first program ran. */
export class KernelClock {
  #times: KernelTimes | undefined;

  get times(): KernelTimes | undefined {
    return this.#times;
  }

  /** @param reached how far the boot had come with this line. */
  line(line: string, atMs: number, reached: BootStage | undefined): void {
    const stamp = kernelStamp(line);
    // A program may print what looks like a line of the kernel.
    const isFirstProgram = /\] Run \S+ as init process/.test(line);
    if (stamp === undefined || (!isBefore(reached, 'stage 1') && !isFirstProgram)) return;
    if (this.#times !== undefined)
      this.#times = { ...this.#times, userspaceMs: Math.max(this.#times.userspaceMs, stamp) };
    else if (/\] Linux version \d/.test(line))
      this.#times = { startedAtMs: Math.max(0, atMs - stamp), userspaceMs: stamp };
  }

  /** The machine starts again. */
  restart(): void {
    this.#times = undefined;
  }
}
