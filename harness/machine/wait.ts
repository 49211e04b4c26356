import { AbortedError, NoSpaceError } from '../../lib/run/errors.ts';
import { BootFailedError, MachineExitedError, WaitTimeoutError } from '../errors.ts';
import { ARCHITECTURES } from '../qemu/architecture.ts';
import { processTimes } from '../qemu/process-times.ts';
import type { FailureSeen } from '../verdict/failures.ts';
import { asksForLogin, loaderMenuIn, type Question, questionIn } from '../verdict/questions.ts';
import { isBefore } from '../verdict/stages.ts';
import { type BootEnd, causeOf } from '../verdict/verdict.ts';
import { type HangBudget, HangWatch, type Standstill } from './hang-watch.ts';
import { HostSpeed } from './host-speed.ts';
import type { LiveMachine } from './live-machine.ts';
import type { WaitOptions } from './machine-spec.ts';
import { Processor } from './processor.ts';

/** Why the passphrase was typed, in a report. */
export const PASSPHRASE_TYPED = 'the configured passphrase';

/** The interval at which a wait checks whether the console has become silent. */
const TICK_MS = 50;
/** The interval at which it looks at the CPU and the disk. */
const LOOK_MS = 500;
/** Silence after which the screen is read, and the interval of further readings. */
const SCREEN_MS = 2000;
/** While the machine is busy, the pause between readings of the screen as a multiple of the last one's duration, which may be
 *  seconds. */
const SCREEN_REST = 10;
/** How long a machine with a login on the screen may stay idle before none is expected on the serial port: gettys start one after
 *  another. Less than NUDGE_MS, which resets the idle time. */
const ELSEWHERE_MS = 6000;
/** The characters at the end of the console that are searched for a loader's menu. */
const RECENT_CHARACTERS = 4000;
/** More output than this is a flood, not a boot. */
const FLOOD_BYTES = 16 * 1024 * 1024;

/** Silence after which an unfinished line is processed. */
const PAUSE_MS = 80;
/** Silence after a fatal failure that confirms it: short if the machine is idle or its kernel loops, longer if it computes. */
const SETTLED_MS = 250;
const COMPUTING_MS = 2000;
/** The same for failures that units and programs print. */
const UNITS_SETTLED_MS = 1500;
const UNITS_COMPUTING_MS = 12_000;

/** Silence after a question in the table. */
const QUESTION_MS = 700;
/** Silence after a loader asks for a key. */
const LOADER_KEY_MS = 13_000;
/** Longer than any silence after which a loader continues by itself. */
const LONGEST_PAUSE_MS = 90_000;
/** How many times the same question is answered. */
const MAX_ANSWERS = 3;
/** Silence after an answer after which it counts as ignored. */
const UNANSWERED_MS = 20_000;

/** Silence of an idle machine with a running init after which the harness presses Enter, so that a getty repeats its prompt. */
const NUDGE_MS = 8000;
/** The same if another line interrupted a prompt. */
const LOST_PROMPT_MS = 1000;
const MAX_NUDGES = 3;
/** How long the guest may take to echo the Enter. */
const NUDGE_ECHO_MS = 2000;

/** How long systemd may take to report a job that reached its limit. */
const JOB_GRACE_MS = 15_000;

export interface BootWaitOptions extends WaitOptions {
  /** Detects questions: only those in the table, or any line that looks like one. Default: none. */
  readonly questions?: 'known' | 'all' | undefined;
  /** Whether Enter may be typed if a prompt was lost. */
  readonly nudges?: boolean | undefined;
  /** The most idle time in milliseconds, if the usual budget allows more. */
  readonly idleMs?: number | undefined;
}

/** Returns how long a machine may be silent, by the stage of its boot. Healthy boots compute in silence for up to 6 s under TCG;
 *  systemd may wait silently for a device for 90 s. */
function usualBudget(machine: LiveMachine, speed: HostSpeed): HangBudget {
  const { accelerator, slowness } = machine.parts;
  const early = isBefore(machine.watch.furthest, 'kernel');
  const factor = Math.max(slowness, speed.slowness);
  // SYSLINUX does not show the remaining time at its prompt.
  if (early && /\bboot:\s*$/.test(machine.watch.prompt)) return { busyMs: 60_000, idleMs: 60_000 };
  if (early && waitsUnseenInGrub(machine)) return { busyMs: 40_000 * factor, idleMs: 40_000 };
  const busyMs = (accelerator === 'kvm' ? 10_000 : early ? 15_000 : 25_000) * factor;
  return { busyMs, idleMs: early ? 15_000 : 120_000 };
}

/** Returns whether GRUB may be waiting invisibly: for the timeout of a hidden menu, or after a message. It calibrates its clock
 *  within a millisecond, so one of its seconds may take several on a loaded host. @see GRUB grub-core/kern/i386/tsc_pmtimer.c */
function waitsUnseenInGrub({ console }: LiveMachine): boolean {
  const recent = console.text.slice(-RECENT_CHARACTERS);
  return recent.includes('GRUB') && loaderMenuIn(recent) === undefined;
}

/** Waits until `check` returns a value. All waits use this function: it also ends on a confirmed failure, an unanswered question, a
 *  hang, a flood of output, the end of the machine, an abort, a full disk on the host, and the time limit.
 *  @throws {BootFailedError}, {MachineExitedError}, {WaitTimeoutError}, {NoSpaceError}, {AbortedError}. */
export async function waitUntil<T>(
  machine: LiveMachine,
  check: (quiet: Quiet) => T | undefined,
  what: string,
  timeoutMs: number,
  options: BootWaitOptions = {},
): Promise<T> {
  const wait = new Wait(machine, check, timeoutMs, options);
  const found = await wait.run();
  if ('value' in found) return found.value;
  const { signal, parts } = machine;
  if (found.how === 'abort') throw new AbortedError(parts.name, { cause: signal?.reason });
  if (found.how === 'host-full')
    throw new NoSpaceError(
      parts.name,
      `${parts.directory.path}, where the machine's private overlay is`,
      {},
      { hint: 'free space there, or set TMPDIR' },
    );
  if (found.how === 'deadline') throw new WaitTimeoutError(parts.name, what, timeoutMs, await machine.evidence());
  throw await explain(machine, found, what, options.serialConsole);
}

/** The machine's silence, for a check. */
export interface Quiet {
  /** Milliseconds since the last byte of output. */
  readonly silentMs: number;
  /** Milliseconds for which the machine was both idle and silent. */
  readonly idleMs: number;
}

type Ended = BootEnd | { readonly how: 'abort' } | { readonly how: 'host-full' } | { readonly how: 'deadline' };

class Wait<T> {
  readonly #machine: LiveMachine;
  readonly #check: (quiet: Quiet) => T | undefined;
  readonly #timeoutMs: number;
  readonly #options: BootWaitOptions;
  readonly #hang = new HangWatch(LOOK_MS);
  readonly #speed = new HostSpeed();
  readonly #processor: Processor;
  readonly #startedAt = performance.now();
  readonly #waitedBefore: number;
  #lastTickAt = performance.now();
  #idleMs = 0;
  #computedMs: number;
  #pausedBytes = -1;
  #sinceLookMs = 0;
  #lastLook: { at: number; computedMs: number; waitedMs: number; news: number; bytes: number };
  #looking = false;
  #lookedAtScreenAt = 0;
  #screenLookMs = 0;
  #nudges = 0;
  #nudgedAt = Number.NEGATIVE_INFINITY;
  /** The last answered line, and how much output had come by then. */
  #answered: { readonly line: string; readonly bytes: number; readonly lines: number } | undefined;
  readonly #answers = new Map<string, number>();
  /** For each failure from which the machine may continue: how long it had waited for a CPU of the host when the failure was first
   *  seen. */
  readonly #waitedAt = new Map<FailureSeen, number>();
  #finish: (result: { value: T } | Ended) => void = () => {};

  constructor(
    machine: LiveMachine,
    check: (quiet: Quiet) => T | undefined,
    timeoutMs: number,
    options: BootWaitOptions,
  ) {
    this.#machine = machine;
    this.#check = check;
    this.#timeoutMs = timeoutMs;
    this.#options = options;
    this.#processor = new Processor(machine);
    const { computedMs, waitedMs } = processTimes(machine.qemu.pid);
    this.#computedMs = computedMs;
    this.#waitedBefore = waitedMs;
    this.#lastLook = { at: performance.now(), computedMs, waitedMs, news: machine.watch.newsCount, bytes: 0 };
  }

  run(): Promise<{ value: T } | Ended> {
    return new Promise((resolve, reject) => {
      let over = false;
      const guarded = (run: () => void): void => {
        try {
          if (!over) run();
        } catch (error) {
          end();
          reject(error);
        }
      };
      const ticker = setInterval(() => guarded(() => this.#tick()), TICK_MS);
      const callOff = this.#machine.onWake(() => guarded(() => this.#attempt()));
      const end = (): void => {
        over = true;
        clearInterval(ticker);
        callOff();
      };
      this.#finish = (result) => {
        if (over) return;
        end();
        resolve(result);
      };
      guarded(() => this.#attempt());
    });
  }

  get #silentMs(): number {
    return performance.now() - this.#machine.console.lastByteAt;
  }

  #attempt(): void {
    const machine = this.#machine;
    const value = this.#check({ silentMs: this.#silentMs, idleMs: this.#idleMs });
    if (value !== undefined) this.#finish({ value });
    else if (machine.hostFull) this.#finish({ how: 'host-full' });
    else if (machine.exit !== undefined) this.#finish(this.#exit());
    else if (machine.signal?.aborted) this.#finish({ how: 'abort' });
  }

  #exit(): BootEnd {
    const { watch, exit, console } = this.#machine;
    const [fatal] = watch.fatal;
    if (fatal !== undefined) return { how: 'fatal', fatal };
    const restartedItself = /reboot: (?:Restarting system|machine restart)/i.test(console.text.slice(-4000));
    return { how: 'exit', reason: exit?.reason, restartedItself };
  }

  #tick(): void {
    const { watch, console, qemu, startedAt } = this.#machine;
    const now = performance.now();
    const { computedMs } = processTimes(qemu.pid);
    const passed = now - this.#lastTickAt;
    const isIdle = computedMs - this.#computedMs < passed * 0.3;
    // A late tick means that the host was paused. A short burst of work is QEMU's own, for a screenshot.
    if (this.#silentMs < passed) this.#idleMs = 0;
    else if (isIdle) this.#idleMs += Math.min(passed, 4 * TICK_MS);
    else this.#idleMs = Math.max(0, this.#idleMs - 4 * passed);
    this.#computedMs = computedMs;
    this.#lastTickAt = now;
    if (this.#silentMs > PAUSE_MS && console.receivedBytes !== this.#pausedBytes) {
      this.#pausedBytes = console.receivedBytes;
      watch.pause(console.lastByteAt - startedAt);
    }
    this.#attempt();
    const fatal = watch.fatal.find((seen) => this.#isConfirmed(seen));
    if (fatal !== undefined) this.#finish({ how: 'fatal', fatal });
    if (this.#options.questions !== undefined) this.#lookForQuestion();
    this.#sinceLookMs += passed;
    if (this.#sinceLookMs >= LOOK_MS && !this.#looking) {
      this.#sinceLookMs = 0;
      this.#looking = true;
      this.#look()
        .catch(() => undefined)
        .finally(() => {
          this.#looking = false;
        });
    }
  }

  /** Returns whether the machine has not continued after a fatal failure. */
  #isConfirmed(seen: FailureSeen): boolean {
    const { goesOnWithinMs, by, unfinished } = seen.pattern;
    const silentMs = this.#silentMs;
    if (this.#options.doomed === true) return silentMs > PAUSE_MS;
    // A loader that reads from the disk continues.
    if (by === 'loader' && this.#processor.usedDisk) return false;
    if (by === 'loader' && silentMs > COMPUTING_MS && this.#cameBackToMenu(seen)) return true;
    // A loader counts seconds by computing: time in which the host gave the CPU to other processes does not count.
    if (goesOnWithinMs !== undefined)
      return silentMs > SETTLED_MS && this.#machine.now - seen.atMs - this.#waitedSince(seen) > goesOnWithinMs;
    if (by === 'init') return silentMs > (this.#idleMs > UNITS_SETTLED_MS ? UNITS_SETTLED_MS : UNITS_COMPUTING_MS);
    if (silentMs < SETTLED_MS) return false;
    if (by === 'kernel') {
      this.#processor.sample();
      // A panicked kernel runs only its own code and does not wait for interrupts for long.
      return this.#processor.isInKernel || silentMs > COMPUTING_MS * 3;
    }
    return unfinished === true || this.#idleMs > SETTLED_MS - TICK_MS * 2 || silentMs > COMPUTING_MS;
  }

  /** Returns whether the loader shows its menu after the failure, without a countdown. */
  #cameBackToMenu({ line }: FailureSeen): boolean {
    const recent = this.#machine.console.text.slice(-RECENT_CHARACTERS);
    const at = recent.lastIndexOf(line);
    return at >= 0 && loaderMenuIn(recent.slice(at + line.length)) !== undefined;
  }

  /** Returns how long the machine has waited for a CPU of the host since this method first saw the failure, in milliseconds. */
  #waitedSince(seen: FailureSeen): number {
    const { waitedMs } = processTimes(this.#machine.qemu.pid);
    const before = this.#waitedAt.get(seen);
    if (before === undefined) this.#waitedAt.set(seen, waitedMs);
    return waitedMs - (before ?? waitedMs);
  }

  #lookForQuestion(): void {
    const { watch, console, parts } = this.#machine;
    const unfinished = watch.prompt.trim() !== '';
    const line = unfinished ? watch.prompt : watch.lastLine;
    const silentMs = this.#silentMs;
    if (silentMs < PAUSE_MS || line.trim() === '' || asksForLogin(line)) return;
    // The guest may echo the answer after the line.
    const same = this.#answered !== undefined && line.startsWith(this.#answered.line);
    // The same line is a new question only if the guest has printed something since.
    if (same && this.#answered?.lines === watch.lineCount && silentMs < UNANSWERED_MS) return;
    const answer = unfinished && parts.answers.answers.find(({ pattern }) => matches(pattern, line));
    if (answer && !(same && this.#answered?.bytes === console.receivedBytes)) {
      if (silentMs > SETTLED_MS && this.#answer(line, answer.text, 'a configured answer')) return;
    }
    const question = questionIn(line, !unfinished);
    if (question === undefined) return;
    const standsMs = question.standsMs ?? QUESTION_MS;
    if (silentMs < (question.answer === undefined ? standsMs : Math.min(standsMs, QUESTION_MS))) return;
    if (!this.#waitsFor(question, unfinished)) return;
    if (question.answer === 'enter' && this.#answer(line, '', 'the console waits for Enter')) return;
    if (question.answer === 'passphrase' && parts.answers.passphrase !== undefined)
      if (this.#answer(line, parts.answers.passphrase, PASSPHRASE_TYPED)) return;
    if (silentMs < standsMs) return;
    // A failure before the question is the reason for it.
    const [fatal] = watch.fatal;
    if (fatal !== undefined) this.#finish({ how: 'fatal', fatal });
    else this.#finish({ how: 'question', question, line, answered: this.#answers.has(line) });
  }

  /** Returns whether the machine waits at the question, and did not only print a similar line. */
  #waitsFor(question: Question, unfinished: boolean): boolean {
    const { furthest } = this.#machine.watch;
    const isKnown = question.standsMs === undefined || question.name !== 'asks-a-question';
    // Firmware and loaders wait for a key in a busy loop.
    if (isBefore(furthest, 'kernel')) {
      if (question.name === 'asks-a-question') return isKnown && this.#silentMs > LOADER_KEY_MS && !this.#mayGoOn;
      return unfinished || this.#silentMs > COMPUTING_MS;
    }
    if (isKnown && unfinished) return true;
    if (this.#options.questions === 'known' && !isKnown) return false;
    return this.#idleMs > Math.min(question.standsMs ?? COMPUTING_MS, this.#silentMs) * 0.8;
  }

  /** Types an answer. @returns false if the question was already answered as often as allowed. */
  #answer(line: string, text: string, why: string): boolean {
    const { watch, console } = this.#machine;
    const times = this.#answers.get(line) ?? 0;
    if (times >= MAX_ANSWERS) return false;
    this.#answers.set(line, times + 1);
    this.#answered = { line, bytes: console.receivedBytes, lines: watch.lineCount };
    this.#machine.type(`${text}\n`, why, text === '' ? '\n' : `(${why})\n`);
    this.#hang.reset();
    return true;
  }

  async #look(): Promise<void> {
    const machine = this.#machine;
    const { watch, console, qemu, parts } = machine;
    this.#speed.measure();
    const { hang } = this.#options;
    const at = performance.now();
    const { computedMs, waitedMs } = processTimes(qemu.pid);
    const last = this.#lastLook;
    this.#lastLook = { at, computedMs, waitedMs, news: watch.newsCount, bytes: console.receivedBytes };
    // On a loaded host, time in which the machine waits for a CPU does not count.
    if (at - this.#startedAt - (waitedMs - this.#waitedBefore) > this.#timeoutMs) this.#finish({ how: 'deadline' });
    if (hang === undefined) return;
    const early = isBefore(watch.furthest, 'kernel');
    if (early || this.#silentMs > LOOK_MS) await this.#processor.look();
    const standstill = this.#hang.look(
      {
        passedMs: at - last.at,
        computedMs: computedMs - last.computedMs,
        waitedMs: waitedMs - last.waitedMs,
        saidNews: watch.newsCount !== last.news,
        // The echo of typed keys is not output.
        said: console.receivedBytes !== last.bytes && at - this.#nudgedAt > NUDGE_ECHO_MS,
        address: this.#processor.address,
        space: this.#processor.space,
        usedDisk: this.#processor.usedDisk,
      },
      this.#budget(hang),
      early,
    );
    if (standstill !== undefined && !this.#waitsForJob(standstill)) this.#finish({ how: 'standstill', standstill });
    else if (console.receivedBytes > FLOOD_BYTES) this.#finish({ how: 'flood' });
    else this.#nudge();
    const isIdle = this.#hang.idleMs > SCREEN_MS;
    const restMs = isIdle ? SCREEN_MS : Math.max(SCREEN_MS, SCREEN_REST * this.#screenLookMs);
    if (parts.hasScreen && this.#hang.silentMs > SCREEN_MS && at - this.#lookedAtScreenAt > restMs) {
      this.#lookedAtScreenAt = at;
      await machine.lookAtScreen();
      this.#screenLookMs = performance.now() - at;
      // A system with a prompt on the screen that stays silent here for that long has no serial console.
      if (watch.screenStage === 'login' && this.#hang.idleMs > ELSEWHERE_MS) this.#finish({ how: 'screen' });
    }
  }

  /** Whether there is a fatal failure after which the machine may still continue within a time of its own. */
  get #mayGoOn(): boolean {
    return this.#machine.watch.fatal.some(({ pattern }) => pattern.goesOnWithinMs !== undefined);
  }

  #budget(hang: HangBudget | 'as usual'): HangBudget {
    if (hang === 'as usual' && this.#mayGoOn) return { busyMs: LONGEST_PAUSE_MS, idleMs: LONGEST_PAUSE_MS };
    const budget = hang === 'as usual' ? usualBudget(this.#machine, this.#speed) : hang;
    return { ...budget, idleMs: Math.min(budget.idleMs, this.#options.idleMs ?? budget.idleMs) };
  }

  #waitsForJob(standstill: Standstill): boolean {
    const limitMs = this.#machine.watch.news.job?.limitMs;
    return limitMs !== undefined && standstill !== 'loop' && this.#hang.silentMs < limitMs + JOB_GRACE_MS;
  }

  #nudge(): void {
    const { watch } = this.#machine;
    if (this.#options.nudges !== true || this.#nudges >= MAX_NUDGES) return;
    if (isBefore(watch.furthest, 'init') || watch.prompt.trim() !== '') return;
    const isLost = /\blogin: ?\S/.test(watch.lastLine);
    if (this.#hang.idleMs < (isLost ? LOST_PROMPT_MS : NUDGE_MS)) return;
    if (questionIn(watch.lastLine, true) !== undefined) return;
    this.#nudges += 1;
    this.#nudgedAt = performance.now();
    this.#hang.idleMs = 0;
    this.#machine.type('\n', 'the console is silent; Enter makes a getty repeat its prompt');
  }
}

function matches(pattern: string | RegExp, line: string): boolean {
  return typeof pattern === 'string'
    ? line.includes(pattern)
    : new RegExp(pattern.source, pattern.flags.replace(/[gy]/g, '')).test(line);
}

/** Creates the error for a failed boot. */
async function explain(
  machine: LiveMachine,
  end: BootEnd,
  what: string,
  serialConsole: boolean | undefined,
): Promise<Error> {
  const { watch, parts, console, startedAt } = machine;
  const evidence = await machine.evidence();
  if (end.how === 'exit' && end.reason !== 'guest-reset' && end.reason !== 'guest-panic')
    return new MachineExitedError(parts.name, what, await machine.exited, evidence);
  const { name, stage, cause, seenAtMs, line } = causeOf(end, {
    stage: watch.furthest,
    screenStage: watch.screenStage,
    failures: tolerated(machine),
    repeated: watch.news.repeated,
    job: watch.news.job,
    unconfirmedPrompt: machine.unconfirmedPrompt,
    serialPort: ARCHITECTURES[parts.architecture].serialPort,
    serialConsole,
    recent: console.text.slice(-RECENT_CHARACTERS),
    lastByteMs: console.lastByteAt - startedAt,
  });
  return new BootFailedError(parts.name, stage, cause, evidence, { name, seenAtMs, line });
}

/** The failures that were seen, except those that healthy guests print when they are emulated on a loaded host. */
export function tolerated({ watch, parts }: LiveMachine): FailureSeen[] {
  return watch.failures.filter(({ pattern }) => pattern.harmlessUnderTcg !== true || parts.accelerator === 'kvm');
}
