import { randomBytes } from 'node:crypto';
import { readFile, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { AbortedError, NoSpaceError } from '../../lib/errors.ts';
import type { PrivateFolder } from '../../lib/private-output.ts';
import { Console } from '../console/console.ts';
import {
  AssertionFailedError,
  BootFailedError,
  type ConsoleEvidence,
  HarnessError,
  type MachineExit,
  MachineExitedError,
  WaitTimeoutError,
} from '../errors.ts';
import { ARCHITECTURES, type Architecture } from '../qemu/architecture.ts';
import { type QemuProcess, startQemu } from '../qemu/process.ts';
import { processTimes } from '../qemu/process-times.ts';
import { QmpClient, type QmpEvent, settleWithin } from '../qemu/qmp.ts';
import { type FailureSeen, FailureWatcher, reasonFor } from '../verdict/failures.ts';
import { type BootStage, isBefore, StageTracker } from '../verdict/stages.ts';
import { HangWatch } from './hang-watch.ts';
import type { GuestResult, MachineContext, WaitOptions } from './machine-spec.ts';
import { readPicture, readScreen, type Screen } from './screen.ts';

const LAST_LINES = 25;

/** Longest line typed at once: a terminal in canonical mode takes 4095 bytes. */
const TYPED_CHARACTERS = 700;

/** How often a name is given to what looks like a login prompt. */
const MOST_ATTEMPTS = 5;

/** A boot that shows more than this has lost itself. */
const FLOOD_BYTES = 16 * 1024 * 1024;

/** How often a silent machine is looked at. */
const LOOK_MS = 500;

/** Silence of an idle machine that has come to its init, after which Enter is pressed: a getty then says its prompt again. */
const NUDGE_MS = 8000;
const MOST_NUDGES = 3;

/** Silence after which the screen is looked at, and then each time. */
const SCREEN_MS = 2000;

/** A guest that floods its console fills no disk: of a longer record only its head and its end are kept. */
const LOG_BYTES = 64 * 1024 * 1024;
const LOG_HEAD_BYTES = 1024 * 1024;

interface MachineParts {
  readonly name: string;
  readonly args: readonly string[];
  readonly folder: PrivateFolder;
  readonly logFile: string;
  readonly architecture: Architecture;
  readonly accelerator: 'kvm' | 'tcg';
  /** How much longer everything takes than on an unloaded host of today; 1 or more. */
  readonly slowness: number;
  readonly hasScreen: boolean;
  readonly commandTimeoutMs: number | undefined;
}

/** What ended a wait. */
type Ended = 'deadline' | 'flood' | 'hang' | 'screen' | 'full' | 'exit' | 'failure' | 'abort';

/** A running machine, with the verbs of NixOS's own test driver. */
export class Machine implements AsyncDisposable {
  readonly name: string;
  readonly architecture: Architecture;
  readonly accelerator: 'kvm' | 'tcg';
  readonly logFile: string;
  readonly console: Console;
  /** How far the boot came, as the console shows it. */
  readonly stages: StageTracker;
  /** Milliseconds of performance.now() when QEMU was started. */
  readonly startedAt: number;
  readonly qemu: QemuProcess;
  /** How it ended; settles when it has. */
  readonly exited: Promise<MachineExit>;
  readonly #parts: MachineParts;
  readonly #failures = new FailureWatcher('console');
  readonly #screenFailures = new FailureWatcher('screen');
  readonly #screenStages = new StageTracker();
  readonly #signal: AbortSignal | undefined;
  readonly #qmp: Promise<QmpClient | undefined>;
  readonly #version: Promise<string>;
  readonly #events: QmpEvent[] = [];
  readonly #wakers = new Set<() => void>();
  #exit: MachineExit | undefined;
  #shellReady = false;
  #hostFull = false;
  #loggedBytes = 0;
  #screenText = '';

  private constructor(
    parts: MachineParts,
    context: MachineContext,
    qemu: QemuProcess,
    console: Console,
    startedAt: number,
  ) {
    this.name = parts.name;
    this.architecture = parts.architecture;
    this.accelerator = parts.accelerator;
    this.logFile = parts.logFile;
    this.#parts = parts;
    this.#signal = context.signal;
    this.console = console;
    this.qemu = qemu;
    this.startedAt = startedAt;
    this.stages = new StageTracker(context.onStage);
    console.onText((text) => {
      const atMs = performance.now() - startedAt;
      // What commands print is nobody's boot.
      if (!this.#shellReady) {
        this.stages.feed(text, atMs);
        this.#failures.feed(text, atMs);
      }
      this.#wake();
    });
    this.#qmp = QmpClient.connect(
      join(parts.folder.path, 'qmp'),
      (event) => this.#take(event),
      () => qemu.isAlive(),
      context.signal,
    ).catch(() => undefined);
    this.#version = this.qmp('query-version').then(
      (answer) => {
        const { qemu: numbers, package: name } = answer as { qemu: Record<string, number>; package: string };
        return `${numbers.major}.${numbers.minor}.${numbers.micro} ${name}`.trim();
      },
      () => '',
    );
    this.exited = qemu.exited.then((end) => {
      const shutdown = this.#events.findLast(({ event }) => event === 'SHUTDOWN');
      const reason = shutdown?.data.reason;
      this.#exit = {
        ...end,
        reason: typeof reason === 'string' ? reason : undefined,
        durationMs: performance.now() - startedAt,
      };
      this.#wake();
      return this.#exit;
    });
    context.signal?.addEventListener('abort', () => this.#wake(), { once: true });
  }

  /** @internal startMachine makes machines. */
  static async start(parts: MachineParts, context: MachineContext): Promise<Machine> {
    const startedAt = performance.now();
    let qemu: QemuProcess | undefined;
    let machine: Machine | undefined;
    const console = new Console((data) => qemu?.write(data), {
      pause: () => qemu?.pause(),
      resume: () => qemu?.resume(),
    });
    const onData = (data: Uint8Array): void => {
      console.feed(data);
      context.onConsole?.(data);
      if (machine !== undefined) machine.#countLog(data.length);
    };
    qemu = await startQemu(parts.args, onData, parts.architecture);
    machine = new Machine(parts, context, qemu, console, startedAt);
    return machine;
  }

  /** What the console, and the screen where it was looked at, have shown of things that are wrong, in order. */
  get failures(): readonly FailureSeen[] {
    const tolerated = ({ pattern }: FailureSeen): boolean =>
      pattern.harmlessUnderTcg !== true || this.accelerator === 'kvm';
    return [...this.#failures.seen, ...this.#screenFailures.seen].filter(tolerated);
  }

  /** Whether somebody is logged in and commands can be run. */
  get isLoggedIn(): boolean {
    return this.#shellReady;
  }

  /** Milliseconds a wait lasts when it is not told: emulated machines are ten times as slow. */
  get defaultTimeoutMs(): number {
    return this.#parts.commandTimeoutMs ?? this.bootTimeoutMs;
  }

  /** Milliseconds until a machine that goes on has to be there. */
  get bootTimeoutMs(): number {
    return (this.accelerator === 'kvm' ? 60_000 : 300_000) * this.#parts.slowness;
  }

  /** Waits until the console shows `pattern` behind the last match.
   *  @throws {BootFailedError} as soon as the console shows a failure; {MachineExitedError} when the machine ends;
   *  {WaitTimeoutError}; {AbortedError}. */
  async waitForConsoleText(pattern: RegExp | string, options: WaitOptions = {}): Promise<string> {
    const regexp = typeof pattern === 'string' ? new RegExp(pattern.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')) : pattern;
    return this.#waitUntil(() => this.console.take(regexp)?.[0], `the console to show ${regexp}`, options);
  }

  /** Waits for the login prompt. A machine that hangs is told from one that is slow: see HangWatch. */
  async waitForLoginPrompt(options: WaitOptions = {}): Promise<void> {
    await this.#waitUntil(() => (this.stages.reached === 'login' ? true : undefined), 'the login prompt', {
      hang: 'as usual',
      // Long: what counts is whether it goes on.
      timeoutMs: 3 * this.bootTimeoutMs,
      ...options,
    });
    this.console.skip();
  }

  /** Logs in on the serial console; afterwards commands can be run. A kernel's line may stand in the middle of a prompt, and
   *  a program may print what looks like one: where nobody answers, the next prompt is waited for.
   *  @throws {BootFailedError} when the login is refused. */
  async login(user = 'root', password?: string, options: WaitOptions = {}): Promise<void> {
    await this.waitForLoginPrompt(options);
    const patience = { hang: 'as usual' as const, ...options };
    this.console.write(`${user}\n`);
    let attempts = 0;
    for (;;) {
      const answered = await this.#waitUntil(
        () =>
          this.console.take(
            /(?<password>Password: ?$)|(?<refused>Login incorrect)|(?<again>\blogin: ?$)|(?<prompt>[#$%>] ?$)/,
          )?.groups,
        'the shell after the login',
        patience,
      );
      if (answered.again !== undefined) {
        attempts += 1;
        if (attempts > MOST_ATTEMPTS)
          throw await this.#loginFailed(`after ${MOST_ATTEMPTS} times the name ${user} there is still a login prompt`);
        this.console.write(`${user}\n`);
        continue;
      }
      if (answered.refused !== undefined) throw await this.#loginFailed(`the login of ${user} was refused`);
      if (answered.password === undefined) break;
      if (password === undefined) throw await this.#loginFailed(`the login of ${user} asks for a password`);
      this.console.write(`${password}\n`);
      const next = await this.#waitUntil(
        () => this.console.take(/(?<refused>Login incorrect)|(?<prompt>[#$%>] ?$)/)?.groups,
        'the shell after the password',
        patience,
      );
      if (next.refused !== undefined) throw await this.#loginFailed(`the login of ${user} was refused`);
      break;
    }
    await this.#takeOverShell(options);
  }

  /** Runs a shell command in the guest, where somebody is logged in.
   *  @returns its exit status and everything it printed. */
  async execute(command: string, options: WaitOptions = {}): Promise<GuestResult> {
    if (!this.#shellReady) await this.login('root', undefined, options);
    const id = randomBytes(4).toString('hex');
    this.console.skip();
    // The command travels in base64: no byte of it means anything to a terminal. Cut into lines a terminal takes.
    const encoded = Buffer.from(command).toString('base64');
    for (let from = 0; from < encoded.length || from === 0; from += TYPED_CHARACTERS) {
      const last = from + TYPED_CHARACTERS >= encoded.length;
      const part = `c${from === 0 ? '=' : '="$c"'}${encoded.slice(from, from + TYPED_CHARACTERS)}`;
      this.console.write(last ? `${part}\n` : `${part}; echo "${id}""+${from}"\n`);
      // A terminal drops what comes faster than the shell reads.
      if (!last)
        await this.#waitUntil(
          () => this.console.take(new RegExp(`${id}\\+${from}\\b`)),
          `the shell to take: ${command.slice(0, 80)}…`,
          options,
        );
    }
    // The marker is typed in two halves, so that its echo is not taken for it.
    this.console.write(
      `o=$( (eval "$(echo $c | base64 -d)") 2>&1 </dev/null; printf '\\n%s' "$?"); echo "<${id.slice(0, 4)}""${id.slice(4)}>$(printf %s "$o" | base64 | tr -d '\\n')</${id.slice(0, 4)}""${id.slice(4)}>"\n`,
    );
    const answer = new RegExp(`<${id}>([A-Za-z0-9+/=\\s]*)</${id}>`);
    const encodedOutput = await this.#waitUntil(
      () => this.console.take(answer)?.[1],
      `the end of: ${command}`,
      options,
    );
    const text = Buffer.from(encodedOutput.replace(/\s/g, ''), 'base64').toString('utf8');
    const end = /\n(\d+)$/.exec(text);
    if (end === null)
      throw new HarnessError(
        `${this.name}: the answer of ${command} came garbled: ${JSON.stringify(text.slice(-200))}`,
      );
    return { exitCode: Number(end[1]), output: text.slice(0, end.index) };
  }

  /** Runs a command that must succeed.
   *  @returns what it printed, without the last newline.
   *  @throws {AssertionFailedError} with its output. */
  async succeed(command: string, options: WaitOptions = {}): Promise<string> {
    const { exitCode, output } = await this.execute(command, options);
    if (exitCode !== 0)
      throw new AssertionFailedError(`${this.name}: "${command}" exited with status ${exitCode}; expected 0`, {
        detail: output,
      });
    return output.replace(/\n$/, '');
  }

  /** Runs a command that must fail.
   *  @throws {AssertionFailedError} when it succeeds. */
  async fail(command: string, options: WaitOptions = {}): Promise<string> {
    const { exitCode, output } = await this.execute(command, options);
    if (exitCode === 0)
      throw new AssertionFailedError(`${this.name}: "${command}" succeeded; expected it to fail`, { detail: output });
    return output.replace(/\n$/, '');
  }

  /** Runs a command in the guest again and again, a second of the guest's time between, until it succeeds.
   *  @returns what it printed then. @throws {WaitTimeoutError} with what it printed last. */
  async waitUntilSucceeds(command: string, options: WaitOptions = {}): Promise<string> {
    const timeoutMs = options.timeoutMs ?? this.defaultTimeoutMs;
    const until = performance.now() + timeoutMs;
    for (;;) {
      const { exitCode, output } = await this.execute(`${command}\ns=$?; [ $s = 0 ] || sleep 1; exit $s`, options);
      if (exitCode === 0) return output.replace(/\n$/, '');
      if (performance.now() > until)
        throw new WaitTimeoutError(this.name, `"${command}" to succeed`, timeoutMs, {
          ...(await this.evidence()),
          lastLines: output.split('\n').slice(-LAST_LINES),
        });
    }
  }

  /** Waits until a systemd unit is active.
   *  @throws {AssertionFailedError} as soon as it has failed, with its log. */
  async waitForUnit(unit: string, options: WaitOptions = {}): Promise<void> {
    const name = `'${unit.replaceAll("'", `'\\''`)}'`;
    const state = await this.waitUntilSucceeds(
      `s=$(systemctl show --property=ActiveState --value -- ${name}); echo "$s"; [ "$s" = active ] || [ "$s" = failed ]`,
      options,
    );
    if (state !== 'failed') return;
    const { output } = await this.execute(`journalctl --no-pager -n 20 -u ${name}`, options);
    throw new AssertionFailedError(`${this.name}: the unit ${unit} has failed; expected it to be active`, {
      detail: output,
    });
  }

  /** Types text on the console. */
  sendChars(text: string): void {
    this.console.write(text);
  }

  /** Takes a picture of the screen, and in a text mode reads it. */
  async screenshot(): Promise<Screen> {
    if (!this.#parts.hasScreen) throw new HarnessError(`${this.name}: this machine has no screen`);
    return readScreen((command, args) => this.qmp(command, args), this.#parts.folder.path);
  }

  /** Keeps the whole machine as it is now, memory and disk, under a name. @see QMP snapshot-save */
  async save(tag: string): Promise<void> {
    await this.#snapshotJob('snapshot-save', { tag, vmstate: 'disk', devices: ['disk'] });
  }

  /** Puts the machine back to where it was saved: a warm start, without a boot. */
  async restore(tag: string): Promise<void> {
    await this.#snapshotJob('snapshot-load', { tag, vmstate: 'disk', devices: ['disk'] });
    this.console.skip();
  }

  /** A QMP command, for what has no verb here. */
  async qmp(command: string, args?: Readonly<Record<string, unknown>>): Promise<unknown> {
    const client = await this.#qmp;
    if (client === undefined) throw new HarnessError(`${this.name}: QEMU's QMP socket could not be reached`);
    return client.execute(command, args);
  }

  /** "7.2.22 (Debian 1:7.2+dfsg-7)"; empty when QEMU was gone before it could be asked. */
  async qemuVersion(): Promise<string> {
    return this.#version;
  }

  /** Restarts the guest in order and waits for its login prompt. */
  async reboot(options: WaitOptions = {}): Promise<void> {
    // A machine here ends at a reset: one that resets itself for ever would be no boot.
    await this.qmp('set-action', { reboot: 'reset' });
    const before = this.#events.length;
    const isReset = (): true | undefined =>
      this.#events.slice(before).some(({ event }) => event === 'RESET') ? true : undefined;
    if (this.#shellReady) this.console.write('reboot\n');
    else await this.qmp('system_reset');
    await this.#waitUntil(isReset, 'the guest to reset', options);
    await this.qmp('set-action', { reboot: 'shutdown' });
    this.#shellReady = false;
    this.console.answersQuestions = true;
    this.console.skip();
    this.stages.restart();
    await this.waitForLoginPrompt(options);
  }

  /** Shuts the guest down and waits until it is off.
   *  @throws {WaitTimeoutError} when it does not. */
  async shutdown(options: WaitOptions = {}): Promise<MachineExit> {
    if (this.#exit !== undefined) return this.#exit;
    this.console.releaseLines();
    if (this.#shellReady) this.console.write('poweroff\n');
    else await this.qmp('system_powerdown');
    const timeoutMs = options.timeoutMs ?? this.bootTimeoutMs;
    if (!(await settleWithin(this.exited, timeoutMs)))
      throw new WaitTimeoutError(this.name, 'the guest to power off', timeoutMs, await this.evidence());
    return this.exited;
  }

  /** Pulls the plug. */
  async crash(): Promise<MachineExit> {
    this.qemu.kill();
    return this.exited;
  }

  /** What an error shows of this machine. */
  async evidence(): Promise<ConsoleEvidence> {
    return {
      stage: this.stages.reached ?? 'none',
      lastLines: await this.console.lastLines(LAST_LINES),
      logFile: this.#parts.logFile.startsWith(this.#parts.folder.path) ? undefined : this.logFile,
    };
  }

  /** Ends the machine if it runs, and removes its private files. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.qemu.kill();
    await this.exited;
    (await this.#qmp)?.[Symbol.dispose]();
    await this.#parts.folder[Symbol.asyncDispose]();
  }

  async #snapshotJob(command: 'snapshot-save' | 'snapshot-load', args: Record<string, unknown>): Promise<void> {
    const job = `${command}-${randomBytes(4).toString('hex')}`;
    const concluded = (): true | undefined =>
      this.#events.some(
        ({ event, data }) => event === 'JOB_STATUS_CHANGE' && data.id === job && data.status === 'concluded',
      )
        ? true
        : undefined;
    await this.qmp(command, { 'job-id': job, ...args });
    await this.#waitUntil(concluded, `QEMU to finish ${command}`, {});
    const jobs = (await this.qmp('query-jobs')) as { id: string; error?: string }[];
    await this.qmp('job-dismiss', { id: job });
    const error = jobs.find(({ id }) => id === job)?.error;
    if (error !== undefined) throw new HarnessError(`${this.name}: ${command}: ${error}`);
  }

  /** Turns a login shell into one to run commands in: no prompts, no kernel messages between, and no answers to the
   *  questions that a line editor asks, which would land in what is typed. */
  async #takeOverShell(options: WaitOptions): Promise<void> {
    this.console.answersQuestions = false;
    // What is typed from here on is the harness's own, and no part of what the guest showed.
    this.console.holdLines();
    const id = randomBytes(4).toString('hex');
    this.console.write(
      `stty -echo; dmesg -n 1; export TERM=dumb PS1= PS2=; echo "${id.slice(0, 4)}""${id.slice(4)}"\n`,
    );
    await this.#waitUntil(() => this.console.take(new RegExp(id)), 'the shell to answer', options);
    this.#shellReady = true;
    this.stages.note('login', performance.now() - this.startedAt);
  }

  #hangBudget(): { busyMs: number; idleMs: number } {
    const { slowness } = this.#parts;
    const early = isBefore(this.screenStage ?? this.stages.reached, 'kernel');
    // Healthy boots compute for up to 6 s in silence under TCG. A quiet systemd waits 90 s for a device.
    const busyMs = (this.accelerator === 'kvm' ? 10_000 : early ? 15_000 : 25_000) * slowness;
    return { busyMs, idleMs: early ? 15_000 : 120_000 };
  }

  async #loginFailed(reason: string): Promise<BootFailedError> {
    const seenAtMs = this.console.lastByteAt - this.startedAt;
    return new BootFailedError(this.name, 'login', reason, await this.evidence(), { name: 'login-refused', seenAtMs });
  }

  #take(event: QmpEvent): void {
    this.#events.push(event);
    // QEMU stops a machine whose disk cannot grow: that is the host's failure, and no wait would end.
    if (event.event === 'BLOCK_IO_ERROR' && event.data.nospace === true) this.#hostFull = true;
    this.#wake();
  }

  #wake(): void {
    for (const waker of this.#wakers) waker();
  }

  #countLog(bytes: number): void {
    this.#loggedBytes += bytes;
    if (this.#loggedBytes < LOG_BYTES) return;
    this.#loggedBytes = LOG_HEAD_BYTES;
    truncate(this.logFile, LOG_HEAD_BYTES).catch(() => undefined);
  }

  /** Looks for what a machine does that says nothing on its console: what its processor runs, what its screen shows. */
  async #lookElsewhere(): Promise<void> {
    const registers = await this.qmp('human-monitor-command', { 'command-line': 'info registers' }).catch(() => '');
    if (runsKernel(`${registers}`)) this.#screenStages.note('kernel', performance.now() - this.startedAt);
    await this.#lookAtScreen();
  }

  async #lookAtScreen(): Promise<void> {
    const screen = await this.screenshot().catch(() => undefined);
    if (screen === undefined) return;
    const lines = screen.lines ?? (await readPicture(screen.png));
    const text = lines.join('\n');
    if (text === this.#screenText) return;
    this.#screenText = text;
    const atMs = performance.now() - this.startedAt;
    this.#screenStages.feed(`${text}\n`, atMs);
    this.#screenFailures.feed(`\n${text}\n`, atMs);
    // A picture is read with mistakes, and the cursor stands behind the prompt half of the time.
    const prompt =
      screen.lines === undefined
        ? /\blogin\W{0,4}$/.test(text.trimEnd())
        : lines.some((line) => /\blogin: ?$/.test(line));
    if (prompt) this.#screenStages.note('login', atMs);
    this.#wake();
  }

  /** How far the boot came as the screen shows it, where that is further than the console. */
  get screenStage(): BootStage | undefined {
    const { reached } = this.#screenStages;
    return reached !== undefined && isBefore(this.stages.reached, reached) ? reached : undefined;
  }

  /** Races what is waited for against a failure on the console, the machine's end, an abort, a hang and the deadline. */
  async #waitUntil<T>(
    check: () => T | undefined,
    what: string,
    { timeoutMs = this.defaultTimeoutMs, hang }: WaitOptions,
  ): Promise<T> {
    const watch = new HangWatch(this.qemu.pid);
    const startedAt = performance.now();
    const { waitedMs } = processTimes(this.qemu.pid);
    let looking = false;
    let nudges = 0;
    let hung: 'busy' | 'idle' | undefined;
    const found = await new Promise<{ value: T } | Ended>((resolve) => {
      const finish = (result: { value: T } | Ended): void => {
        clearInterval(looker);
        this.#wakers.delete(attempt);
        resolve(result);
      };
      const attempt = (): void => {
        const value = check();
        if (value !== undefined) finish({ value });
        else if (this.#fatal() !== undefined && !this.#shellReady) finish('failure');
        else if (this.#hostFull) finish('full');
        else if (this.#exit !== undefined) finish('exit');
        else if (this.#signal?.aborted) finish('abort');
      };
      const look = (): void => {
        const budget = hang === 'as usual' ? this.#hangBudget() : hang;
        hung = watch.look(this.console.receivedBytes, budget ?? { busyMs: Infinity, idleMs: Infinity });
        const silentMs = watch.busyMs + watch.idleMs;
        if (hang !== undefined && this.stages.reached === 'init' && nudges < MOST_NUDGES && watch.idleMs > NUDGE_MS) {
          nudges += 1;
          watch.idleMs = 0;
          this.console.write('\n');
        }
        if (hung !== undefined) finish('hang');
        else if (hang !== undefined && this.console.receivedBytes > FLOOD_BYTES) finish('flood');
        // On a loaded host the clock runs and the machine does not.
        else if (performance.now() - startedAt - (processTimes(this.qemu.pid).waitedMs - waitedMs) > timeoutMs)
          finish('deadline');
        else if (hang !== undefined && this.#parts.hasScreen && silentMs > SCREEN_MS && !looking) {
          looking = true;
          void this.#lookElsewhere().finally(() => {
            // Nobody who shows a prompt on the screen and nothing here for that long has a console here.
            if (this.screenStage === 'login' && silentMs > 2 * SCREEN_MS) finish('screen');
            setTimeout(() => {
              looking = false;
            }, SCREEN_MS).unref();
          });
        }
      };
      const looker = setInterval(look, LOOK_MS);
      this.#wakers.add(attempt);
      attempt();
    });
    if (typeof found === 'object') return found.value;
    if (found === 'abort') throw new AbortedError(this.name, { cause: this.#signal?.reason });
    if (found === 'full')
      throw new NoSpaceError(
        this.name,
        `${this.#parts.folder.path}, where the machine's private overlay is`,
        {},
        { hint: 'free space there, or set TMPDIR' },
      );
    throw await this.#explain(found, what, timeoutMs, hung);
  }

  #fatal(): FailureSeen | undefined {
    return this.#failures.fatal ?? this.#screenFailures.fatal;
  }

  /** The error for a wait that did not end well: the first reason that was seen, not the last consequence. */
  async #explain(ended: Ended, what: string, timeoutMs: number, hung: 'busy' | 'idle' | undefined): Promise<Error> {
    const evidence = await this.#evidenceAtEnd();
    const stage = this.screenStage ?? this.stages.reached ?? 'firmware';
    const lastByteMs = this.console.lastByteAt - this.startedAt;
    const fail = (name: string, at: string, cause: string, seenAtMs = lastByteMs): BootFailedError =>
      new BootFailedError(
        this.name,
        at,
        cause,
        { ...evidence, lastLines: this.#lastSeen(evidence) },
        { name, seenAtMs },
      );
    const because = (name: string): string => {
      const reason = reasonFor(name, this.failures);
      return reason === undefined ? '' : `${reason.pattern.cause}: ${reason.line}; `;
    };
    const fatal = this.#fatal();
    if (fatal !== undefined) {
      const { pattern, line } = fatal;
      const reason = reasonFor(pattern.name, this.failures);
      const where = fatal.on === 'screen' ? ' (on the screen; the serial console shows nothing of it)' : '';
      const own = `${pattern.cause}: ${line}${where}`;
      return reason === undefined
        ? fail(pattern.name, pattern.stage ?? stage, own, fatal.atMs)
        : fail(
            reason.pattern.name,
            reason.pattern.stage ?? stage,
            `${reason.pattern.cause}: ${reason.line}; then ${own}`,
            fatal.atMs,
          );
    }
    if (ended === 'screen' || (ended === 'hang' && this.screenStage !== undefined)) {
      const further =
        this.screenStage === 'login'
          ? 'the screen shows a login prompt, and the serial console does not'
          : `the screen shows that it came to "${this.screenStage}", and the serial console does not`;
      return fail(
        'no-serial-console',
        stage,
        `${further}: the kernel has no console=${ARCHITECTURES[this.architecture].serialPort} in its parameters, or nobody serves a login there`,
      );
    }
    if (ended === 'hang') {
      const how =
        hung === 'busy'
          ? 'the machine computes and shows nothing more: it hangs in a loop'
          : 'the machine does nothing and shows nothing more';
      return fail('hang', stage, `${because('hang')}${how}`);
    }
    if (ended === 'flood')
      return fail('console-flood', stage, 'the console shows more than any boot has to say, and no login');
    if (ended === 'deadline') return new WaitTimeoutError(this.name, what, timeoutMs, evidence);
    const exit = await this.exited;
    if (exit.reason === 'guest-reset')
      return fail('machine-reset', stage, `${because('machine-reset')}${this.#resetCause()}`);
    if (exit.reason === 'guest-panic') return fail('kernel-panic', 'kernel', 'the kernel panicked');
    return new MachineExitedError(this.name, what, exit, evidence);
  }

  #resetCause(): string {
    return /reboot: Restarting system|reboot: machine restart/i.test(this.console.text.slice(-4000))
      ? 'the guest restarted itself before the login'
      : 'the machine reset itself without a word: a triple fault, or a kernel that could not run';
  }

  /** The console's last lines, or the screen's where only that shows something. */
  #lastSeen(evidence: ConsoleEvidence): readonly string[] {
    if (this.screenStage === undefined && this.#screenFailures.fatal === undefined) return evidence.lastLines;
    return ['(the screen)', ...this.#screenText.split('\n').filter((line) => line !== '')];
  }

  /** When QEMU has ended, its log file may hold bytes that the pty lost: the file is the record. */
  async #evidenceAtEnd(): Promise<ConsoleEvidence> {
    if (this.#exit !== undefined && this.#failures.fatal === undefined && !this.#shellReady) {
      const { size } = await stat(this.logFile).catch(() => ({ size: 0 }));
      if (size > 0) {
        const tail = (await readFile(this.logFile)).subarray(-64 * 1024).toString('utf8');
        this.#failures.feed(`${tail.replaceAll('\r', '')}\n`, this.#exit.durationMs);
      }
    }
    return this.evidence();
  }
}

/** Whether a processor is where only a kernel is, or in user mode: firmware and loaders run at low addresses, in the most
 *  privileged mode. From QEMU's `info registers`. */
function runsKernel(registers: string): boolean {
  const [, address = ''] = /(?:RIP| PC)=([0-9a-f]{16})/.exec(registers) ?? [];
  return /^ffff/.test(address) || (address !== '' && /CPL=3| EL0t/.test(registers));
}
