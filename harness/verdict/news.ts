/** The most lines to remember: a boot prints thousands, a flood any number. */
const REMEMBERED = 20_000;

/** systemd's status line for a job that it waits for, with the elapsed time and the limit.
 *  @see systemd src/core/manager.c, manager_print_jobs_in_progress */
const JOB =
  /(?:A [\w/-]+ job is running for (?<unit>.+?)|Job (?<job>\S+)\/[\w-]+ running) \((?<had>[^()/]*)\/ (?<limit>[^()]*)\)/;

export interface WaitingJob {
  readonly unit: string;
  /** Milliseconds until systemd gives up on the job; undefined for never. */
  readonly limitMs: number | undefined;
}

/** Parses the job from a status line of systemd. */
function jobIn(line: string): WaitingJob | undefined {
  const { job, unit = job, limit = '' } = JOB.exec(line)?.groups ?? {};
  if (unit === undefined) return undefined;
  return { unit, limitMs: /no limit/.test(limit) ? undefined : durationMs(limit) };
}

/** Parses a duration as systemd prints it: "1min 30s". */
function durationMs(text: string): number | undefined {
  const units: Readonly<Record<string, number>> = { h: 3_600_000, min: 60_000, s: 1000, ms: 1 };
  const parts = [...text.matchAll(/([\d.]+)\s*(h|min|ms|s)\b/g)];
  if (parts.length === 0) return undefined;
  return parts.reduce((sum, [, number, unit = 's']) => sum + Number(number) * (units[unit] ?? 0), 0);
}

/** Distinguishes new console output from repeated output. Counting numbers and growing rows of dots are not new. */
export class News {
  readonly #known = new Set<string>();
  /** The last line, if it was printed before. */
  #repeated: string | undefined;
  #job: WaitingJob | undefined;

  /** The line that the console repeats; undefined if its last line was new. */
  get repeated(): string | undefined {
    return this.#repeated;
  }

  /** The job that systemd waits for; undefined if another line was printed since. */
  get job(): WaitingJob | undefined {
    return this.#job;
  }

  /** Processes a line, or the beginning of one. @returns whether it is new. */
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

/** Reduces a line to what identifies it: without numbers and without progress drawings (dots, bars, asterisks, a spinner). */
function gist(line: string): string {
  // A countdown ends by itself, so its numbers are new.
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
