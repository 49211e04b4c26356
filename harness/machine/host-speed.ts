import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { cacheDirectory } from '../cache-directory.ts';

/** Rounds of the measured work: about half a millisecond. */
const ROUNDS = 200_000;
const KEPT = 15;
/** A clock that jumps makes no host a hundred times as slow. */
const MOST = 8;

/** How much processor time the same work costs on this host, now: processors share caches and execution units, so on a
 *  loaded host a guest needs more of it than on an idle one. */
export class HostSpeed {
  static #bestMs: number | undefined;
  readonly #recent: number[] = [];

  /** Measures once; about half a millisecond. */
  measure(): void {
    const before = process.cpuUsage();
    let x = 1;
    for (let round = 0; round < ROUNDS; round += 1) x = (Math.imul(x, 1_664_525) + 1_013_904_223) | 0;
    const { user, system } = process.cpuUsage(before);
    // What nobody reads, a compiler leaves out.
    const ms = (user + system) / 1000 + (x === 0 ? 1 : 0);
    if (ms <= 0) return;
    this.#recent.push(ms);
    if (this.#recent.length > KEPT) this.#recent.shift();
    if (HostSpeed.#bestMs === undefined || ms < HostSpeed.#bestMs) HostSpeed.#bestMs = ms;
  }

  /** How many times as much the work costs now as it did at best; 1 or more. */
  get slowness(): number {
    const sorted = [...this.#recent].sort((a, b) => a - b);
    const median = sorted[Math.floor(sorted.length / 2)];
    if (median === undefined || HostSpeed.#bestMs === undefined || this.#recent.length < 3) return 1;
    return Math.min(MOST, Math.max(1, median / HostSpeed.#bestMs));
  }

  /** Takes the best that earlier runs measured on this host, and keeps this one's for later runs. */
  static async remember(): Promise<void> {
    const boot = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => '')).slice(0, 8);
    const file = join(cacheDirectory(), `speed-${boot}`);
    const known = Number(await readFile(file, 'utf8').catch(() => ''));
    if (known > 0 && known < 1000) HostSpeed.#bestMs = Math.min(HostSpeed.#bestMs ?? known, known);
    if (HostSpeed.#bestMs !== undefined && !(known <= HostSpeed.#bestMs))
      await writeFile(file, `${HostSpeed.#bestMs}`).catch(() => undefined);
  }
}
