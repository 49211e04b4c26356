/** Lines that are remembered: a boot has thousands, a flood has any number. */
const REMEMBERED = 20_000;

/** A job that systemd waits for, as its status line names it, with the time it has had and its limit.
 *  @see systemd src/core/manager.c, manager_print_jobs_in_progress */
const JOB =
  /(?:A [\w/-]+ job is running for (?<unit>.+?)|Job (?<job>\S+)\/[\w-]+ running) \((?<had>[^()/]*)\/ (?<limit>[^()]*)\)/;

export interface WaitingJob {
  readonly unit: string;
  /** Milliseconds after which systemd gives it up; undefined: never. */
  readonly limitMs: number | undefined;
}

/** The job that a line of systemd's names. */
function jobIn(line: string): WaitingJob | undefined {
  const { job, unit = job, limit = '' } = JOB.exec(line)?.groups ?? {};
  if (unit === undefined) return undefined;
  return { unit, limitMs: /no limit/.test(limit) ? undefined : durationMs(limit) };
}

/** "1min 30s", as systemd writes durations. */
function durationMs(text: string): number | undefined {
  const units: Readonly<Record<string, number>> = { h: 3_600_000, min: 60_000, s: 1000, ms: 1 };
  const parts = [...text.matchAll(/([\d.]+)\s*(h|min|ms|s)\b/g)];
  if (parts.length === 0) return undefined;
  return parts.reduce((sum, [, number, unit = 's']) => sum + Number(number) * (units[unit] ?? 0), 0);
}

/** Tells what a console says for the first time from what it repeats. Numbers that count and dots that grow are no news. */
export class News {
  readonly #known = new Set<string>();
  /** The last line that had been said before. */
  #repeated: string | undefined;
  #job: WaitingJob | undefined;

  /** What the console repeats; undefined since something new was said. */
  get repeated(): string | undefined {
    return this.#repeated;
  }

  /** The job that systemd last said to wait for; undefined since something new was said. */
  get job(): WaitingJob | undefined {
    return this.#job;
  }

  /** Takes a line, or the part of one that is there. @returns whether it says something new. */
  line(line: string): boolean {
    const text = gist(line);
    if (text === '') return false;
    const job = jobIn(line);
    if (job !== undefined) this.#job = job;
    if (this.#known.has(text)) {
      this.#repeated = line.trim();
      return false;
    }
    if (this.#known.size >= REMEMBERED) this.#known.clear();
    this.#known.add(text);
    this.#repeated = undefined;
    if (job === undefined) this.#job = undefined;
    return true;
  }

  restart(): void {
    this.#known.clear();
    this.#repeated = undefined;
    this.#job = undefined;
  }
}

/** "The highlighted entry will be executed automatically in 5s.", "Boot in 4 s.", "Automatic boot in 3 seconds..." */
const COUNTDOWN = /\bin \d+ ?s(?:ec(?:ond)?s?)?\b/i;

/** A line without its numbers, and what is drawn by repeating it: dots, bars, asterisks, a wheel. */
function gist(line: string): string {
  // What counts down ends by itself.
  if (COUNTDOWN.test(line)) return line.slice(0, 500).trim();
  return line
    .slice(0, 500)
    .replace(/\d+(?:[.,:]\d+)*(?:\s?(?:min|ms|[smhd%]|[KMGT]i?B?))?\b/g, '0')
    .replace(/(?:0[ /]*)+/g, '0')
    .replace(/\[[ *]+\]/g, '')
    .replace(/[|/-](?=\s*$)/, '')
    .replace(/([^A-Za-z0-9])\1+/g, '$1')
    .trim();
}
