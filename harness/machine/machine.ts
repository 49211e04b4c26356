import { once } from 'node:events';
import { createReadStream, createWriteStream } from 'node:fs';
import type { Console } from '../console/console.ts';
import {
  AssertionFailedError,
  type ConsoleEvidence,
  HarnessError,
  type MachineExit,
  WaitTimeoutError,
} from '../errors.ts';
import type { Architecture } from '../qemu/architecture.ts';
import type { QemuProcess } from '../qemu/process.ts';
import type { FailureSeen } from '../verdict/failures.ts';
import type { BootStage, StageTracker } from '../verdict/stages.ts';
import type { TypedKeys } from './boot-watch.ts';
import { GuestShell, quote } from './guest-shell.ts';
import { LiveMachine, type MachineParts } from './live-machine.ts';
import { type ConsoleOffers, findShell, logIn, waitForOffer } from './login.ts';
import type { GuestResult, MachineContext, WaitOptions } from './machine-spec.ts';
import type { Screen } from './screen.ts';
import { restoreSnapshot, saveSnapshot } from './snapshots.ts';
import { tolerated, waitUntil } from './wait.ts';

const LAST_LINES = 25;

/** A running machine, with the verbs of NixOS's own test driver. */
export class Machine implements AsyncDisposable {
  readonly #live: LiveMachine;
  #shell: GuestShell | undefined;
  #user = 'root';
  /** How that is done; empty for somebody who may not. */
  #powerOff: string | undefined;

  private constructor(live: LiveMachine) {
    this.#live = live;
  }

  /** @internal startMachine makes machines. */
  static async start(parts: MachineParts, context: MachineContext): Promise<Machine> {
    return new Machine(await LiveMachine.start(parts, context));
  }

  get name(): string {
    return this.#live.parts.name;
  }
  get architecture(): Architecture {
    return this.#live.parts.architecture;
  }
  get accelerator(): 'kvm' | 'tcg' {
    return this.#live.parts.accelerator;
  }
  get console(): Console {
    return this.#live.console;
  }
  get qemu(): QemuProcess {
    return this.#live.qemu;
  }
  /** Milliseconds of performance.now() when QEMU was started. */
  get startedAt(): number {
    return this.#live.startedAt;
  }
  /** How it ended; settles when it has. */
  get exited(): Promise<MachineExit> {
    return this.#live.exited;
  }
  /** How far the boot came, as the console shows it. */
  get stages(): StageTracker {
    return this.#live.watch.stages;
  }
  /** How far the boot came as the screen shows it, where that is further than the console. */
  get screenStage(): BootStage | undefined {
    return this.#live.watch.screenStage;
  }
  /** What the console, and the screen where it was looked at, have shown of things that are wrong, in order. */
  get failures(): readonly FailureSeen[] {
    return tolerated(this.#live);
  }
  /** Of those, the ones behind which the machine has not gone on. */
  get unsettled(): readonly FailureSeen[] {
    return this.failures.filter((seen) => !this.#live.watch.isOver(seen));
  }
  /** Every key that was typed without being told to, or as an answer that was given. */
  get typed(): readonly TypedKeys[] {
    return this.#live.watch.typed;
  }
  /** The kernel's parameters, as it printed them. */
  get kernelParameters(): string | undefined {
    return this.#live.watch.kernelParameters;
  }
  /** How often the guest restarted itself. */
  get reboots(): number {
    return this.#live.reboots;
  }
  /** Whether somebody is logged in and commands can be run. */
  get isLoggedIn(): boolean {
    return this.#shell !== undefined;
  }
  /** Who is logged in. */
  get user(): string {
    return this.#user;
  }
  /** Milliseconds a wait lasts when it is not told: emulated machines are ten times as slow. */
  get defaultTimeoutMs(): number {
    return this.#live.parts.commandTimeoutMs ?? this.bootTimeoutMs;
  }
  /** Milliseconds until a machine that goes on has to be there. */
  get bootTimeoutMs(): number {
    return (this.accelerator === 'kvm' ? 60_000 : 300_000) * this.#live.parts.slowness;
  }

  /** Waits until the console shows `pattern` behind the last match.
   *  @throws {BootFailedError} when the console shows a failure; {MachineExitedError} when the machine ends;
   *  {WaitTimeoutError}; {AbortedError}. */
  async waitForConsoleText(pattern: RegExp | string, options: WaitOptions = {}): Promise<string> {
    const regexp = typeof pattern === 'string' ? new RegExp(pattern.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')) : pattern;
    const timeoutMs = options.timeoutMs ?? this.defaultTimeoutMs;
    return waitUntil(
      this.#live,
      () => this.console.take(regexp)?.[0],
      `the console to show ${regexp}`,
      timeoutMs,
      options,
    );
  }

  /** Waits for the login prompt, or for a shell that opens without one: a prompt is one when it stands at the end of the output,
   *  behind the system's init, and comes again after Enter. A machine that hangs is told from one that is slow: see HangWatch.
   *  @throws {BootFailedError} where the boot stops, or asks a question that is not answered. */
  async waitForLoginPrompt(
    options: WaitOptions = {},
    { loginFollows = false }: { readonly loginFollows?: boolean } = {},
  ): Promise<ConsoleOffers> {
    // Long: what counts is whether it goes on.
    const timeoutMs = options.timeoutMs ?? 3 * this.bootTimeoutMs;
    const offer = await waitForOffer(this.#live, timeoutMs, options, { loginFollows });
    this.console.skip();
    return offer;
  }

  /** Logs in on the serial console, unless a shell is open there already; afterwards commands can be run. The user's shell may be
   *  any that knows `exec sh`, in any language.
   *  @throws {BootFailedError} when the login is refused, asks for something else, or leads to no shell. */
  async login(user = 'root', password?: string, options: WaitOptions = {}): Promise<void> {
    const offer = await this.waitForLoginPrompt(options, { loginFollows: true });
    const timeoutMs = options.timeoutMs ?? this.defaultTimeoutMs;
    if (offer === 'login') await logIn(this.#live, user, password, timeoutMs, options);
    await findShell(this.#live, user, timeoutMs, options);
    this.#shell = await GuestShell.take(this.#live, user, timeoutMs);
    this.#user = user;
    this.stages.note('login', performance.now() - this.startedAt);
  }

  /** Runs a shell command in the guest, where somebody is logged in. It returns when the command ends, whatever it left in the
   *  background.
   *  @returns its exit status and everything it printed.
   *  @throws {WaitTimeoutError} when it does not end; it is interrupted, and the next command runs. */
  async execute(command: string, options: WaitOptions = {}): Promise<GuestResult> {
    return (await this.#guest(options)).execute(command, options.timeoutMs ?? this.defaultTimeoutMs);
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
    const state = await this.waitUntilSucceeds(
      `s=$(systemctl show --property=ActiveState --value -- ${quote(unit)}); echo "$s"; [ "$s" = active ] || [ "$s" = failed ]`,
      options,
    );
    if (state !== 'failed') return;
    const { output } = await this.execute(`journalctl --no-pager -n 20 -u ${quote(unit)}`, options);
    throw new AssertionFailedError(`${this.name}: the unit ${unit} has failed; expected it to be active`, {
      detail: output,
    });
  }

  /** Brings a file of the guest's to this host, byte for byte.
   *  @returns its contents, or how many bytes were written to `target`.
   *  @throws {AssertionFailedError} when it cannot be read. */
  async copyFromGuest(path: string): Promise<Buffer>;
  async copyFromGuest(path: string, target: string, options?: WaitOptions): Promise<number>;
  async copyFromGuest(path: string, target?: string, options: WaitOptions = {}): Promise<Buffer | number> {
    const shell = await this.#guest(options);
    const timeoutMs = options.timeoutMs ?? this.defaultTimeoutMs;
    if (target === undefined) {
      const pieces: Buffer[] = [];
      await shell.read(path, timeoutMs, (piece) => void pieces.push(piece));
      return Buffer.concat(pieces);
    }
    const file = createWriteStream(target);
    await once(file, 'open');
    const size = await shell.read(path, timeoutMs, (piece) => void file.write(piece));
    await new Promise<void>((resolve, reject) => file.once('error', reject).end(() => resolve()));
    return size;
  }

  /** Writes a file in the guest: bytes, or the contents of a file of this host's, for `{ file }`.
   *  @returns how many bytes it has. */
  async copyToGuest(
    source: Uint8Array | string | { readonly file: string },
    path: string,
    options: WaitOptions = {},
  ): Promise<number> {
    const shell = await this.#guest(options);
    const contents =
      typeof source === 'object' && 'file' in source ? createReadStream(source.file) : [Buffer.from(source)];
    return shell.write(path, contents as AsyncIterable<Buffer>, options.timeoutMs ?? this.defaultTimeoutMs);
  }

  /** How much the guest has read from its disk since its kernel runs, in bytes; undefined when QEMU does not tell. */
  async readSinceKernel(): Promise<number | undefined> {
    const use = await this.#live.diskUse();
    return use === undefined ? undefined : use.readBytes - this.#live.readBytesAtKernel;
  }

  /** Types text on the console. */
  sendChars(text: string): void {
    this.console.write(text);
  }

  /** Takes a picture of the screen, and in a text mode reads it. */
  async screenshot(): Promise<Screen> {
    return this.#live.screenshot();
  }

  /** Keeps the whole machine as it is now, memory and disk, under a name. @see QMP snapshot-save */
  async save(tag: string): Promise<void> {
    await saveSnapshot(this.#live, tag, this.bootTimeoutMs);
  }

  /** Puts the machine back to where it was saved: a warm start, without a boot. */
  async restore(tag: string): Promise<void> {
    await restoreSnapshot(this.#live, tag, this.bootTimeoutMs);
  }

  /** A QMP command, for what has no verb here. */
  async qmp(command: string, args?: Readonly<Record<string, unknown>>): Promise<unknown> {
    return this.#live.qmp(command, args);
  }

  /** "7.2.22 (Debian 1:7.2+dfsg-7)"; empty when QEMU was gone before it could be asked. */
  async qemuVersion(): Promise<string> {
    return this.#live.version;
  }

  /** Restarts the guest in order and waits for its login prompt. */
  async reboot(options: WaitOptions = {}): Promise<void> {
    const live = this.#live;
    // A machine here ends at a reset: one that resets itself for ever would be no boot.
    live.expectsReset = true;
    await this.qmp('set-action', { reboot: 'reset' });
    const before = live.events.length;
    const isReset = (): true | undefined =>
      live.events.slice(before).some(({ event }) => event === 'RESET') ? true : undefined;
    if (this.#shell !== undefined) this.#shell.leave('reboot');
    else await this.qmp('system_reset');
    await waitUntil(live, isReset, 'the guest to reset', options.timeoutMs ?? this.bootTimeoutMs, options);
    await this.qmp('set-action', { reboot: 'shutdown' });
    live.expectsReset = false;
    this.#shell = undefined;
    this.console.answersQuestions = true;
    this.console.releaseLines();
    this.console.skip();
    live.watch.restart();
    await this.waitForLoginPrompt(options);
  }

  /** Whether somebody is logged in who may power the guest off: root, or who may become it without a password. */
  async mayPowerOff(): Promise<boolean> {
    if (this.#shell === undefined || this.#live.exit !== undefined) return false;
    const question =
      'if [ "$(id -u)" = 0 ]; then echo poweroff; elif sudo -n true 2>/dev/null; then echo sudo -n poweroff; fi';
    this.#powerOff ??= (await this.#shell.execute(question, this.defaultTimeoutMs)).output.trim();
    return this.#powerOff !== '';
  }

  /** Shuts the guest down and waits until it is off: by a command where that is allowed, else by the power button.
   *  @throws {WaitTimeoutError} when it does not power off; {BootFailedError} when it fails at that. */
  async shutdown(options: WaitOptions = {}): Promise<MachineExit> {
    const live = this.#live;
    if (live.exit !== undefined) return live.exit;
    this.console.releaseLines();
    const shell = this.#shell;
    if (shell !== undefined && (await this.mayPowerOff())) shell.leave(this.#powerOff ?? 'poweroff');
    else await this.qmp('system_powerdown');
    const timeoutMs = options.timeoutMs ?? this.bootTimeoutMs;
    const exit = await waitUntil(live, () => live.exit, 'the guest to power off', timeoutMs, options);
    return exit;
  }

  /** Pulls the plug. */
  async crash(): Promise<MachineExit> {
    this.qemu.kill();
    return this.exited;
  }

  /** What an error shows of this machine. */
  async evidence(): Promise<ConsoleEvidence> {
    return this.#live.evidence();
  }

  /** Ends the machine if it runs, and removes its private files. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#live.end();
  }

  async #guest(options: WaitOptions): Promise<GuestShell> {
    if (this.#shell === undefined) await this.login('root', undefined, options);
    if (this.#shell === undefined) throw new HarnessError(`${this.name}: nobody is logged in`);
    return this.#shell;
  }
}
