import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { cacheDirectory } from '../cache-directory.ts';

/** Rounds of the measured work: about half a millisecond. */
const ROUNDS = 200_000;
const KEPT = 15;
/** The highest factor: a clock that jumps must not make a host look a hundred times as slow. */
const MAX_SLOWNESS = 8;

/** Measures how much CPU time the same work takes on this host now. CPUs share caches and execution units, so a guest needs more
 *  CPU time on a loaded host than on an idle one. */
export class HostSpeed {
  static #bestMs: number | undefined;
  readonly #recent: number[] = [];

  /** Measures once; about half a millisecond. */
  measure(): void {
    const before = process.cpuUsage();
    let x = 1;
    for (let round = 0; round < ROUNDS; round += 1) x = (Math.imul(x, 1_664_525) + 1_013_904_223) | 0;
    const { user, system } = process.cpuUsage(before);
    // Use the result, so that the compiler does not remove the loop.
    const ms = (user + system) / 1000 + (x === 0 ? 1 : 0);
    if (ms <= 0) return;
    this.#recent.push(ms);
    if (this.#recent.length > KEPT) this.#recent.shift();
    if (HostSpeed.#bestMs === undefined || ms < HostSpeed.#bestMs) HostSpeed.#bestMs = ms;
  }

  /** The ratio of the current to the best CPU time for the same work; 1 or more. */
  get slowness(): number {
    const sorted = [...this.#recent].sort((a, b) => a - b);
    const median = sorted[Math.floor(sorted.length / 2)];
    if (median === undefined || HostSpeed.#bestMs === undefined || this.#recent.length < 3) return 1;
    return Math.min(MAX_SLOWNESS, Math.max(1, median / HostSpeed.#bestMs));
  }

  /** Loads the best time of earlier runs on this host, and saves this run's for later ones. */
  static async remember(): Promise<void> {
    const boot = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => '')).slice(0, 8);
    const file = join(cacheDirectory(), `speed-${boot}`);
    const known = Number(await readFile(file, 'utf8').catch(() => ''));
    if (known > 0 && known < 1000) HostSpeed.#bestMs = Math.min(HostSpeed.#bestMs ?? known, known);
    if (HostSpeed.#bestMs !== undefined && !(known <= HostSpeed.#bestMs))
      await writeFile(file, `${HostSpeed.#bestMs}`).catch(() => undefined);
  }
}
