import { AssertionFailedError, HarnessError, type MachineExit, WaitTimeoutError } from '../errors.ts';
import { fetchBytes, fetchFile, sendFile } from './guest-files.ts';
import { GuestShell, quote } from './guest-shell.ts';
import { LiveMachine, type MachineParts } from './live-machine.ts';
import { type ConsoleOffers, findShell, logIn, waitForOffer } from './login.ts';
import { MachineFacts } from './machine-facts.ts';
import type { GuestResult, MachineContext, WaitOptions } from './machine-spec.ts';
import { restart } from './restart.ts';
import { restoreSnapshot, saveSnapshot } from './snapshots.ts';
import { waitUntil } from './wait.ts';

const LAST_LINES = 25;

/** A running machine, with the verbs of NixOS's own test driver. */
export class Machine extends MachineFacts implements AsyncDisposable {
  #shell: GuestShell | undefined;
  #user = 'root';
  /** How that is done; empty for somebody who may not. */
  #powerOff: string | undefined;

  /** @internal startMachine makes machines. */
  static async start(parts: MachineParts, context: MachineContext): Promise<Machine> {
    return new Machine(await LiveMachine.start(parts, context));
  }

  /** Whether somebody is logged in and commands can be run. */
  get isLoggedIn(): boolean {
    return this.#shell !== undefined;
  }
  /** Who is logged in. */
  get user(): string {
    return this.#user;
  }
  /** Waits until the console shows `pattern` behind the last match.
   *  @throws {BootFailedError} when the console shows a failure; {MachineExitedError} when the machine ends;
   *  {WaitTimeoutError}; {AbortedError}. */
  async waitForConsoleText(pattern: RegExp | string, options: WaitOptions = {}): Promise<string> {
    const regexp = typeof pattern === 'string' ? new RegExp(pattern.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')) : pattern;
    const timeoutMs = options.timeoutMs ?? this.defaultTimeoutMs;
    return waitUntil(
      this.live,
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
    const offer = await waitForOffer(this.live, timeoutMs, options, { loginFollows });
    this.console.skip();
    return offer;
  }

  /** Logs in on the serial console, unless a shell is open there already; afterwards commands can be run. The user's shell may be
   *  any that knows `exec sh`, in any language.
   *  @throws {BootFailedError} when the login is refused, asks for something else, or leads to no shell. */
  async login(user = 'root', password?: string, options: WaitOptions = {}): Promise<void> {
    const offer = await this.waitForLoginPrompt(options, { loginFollows: true });
    const timeoutMs = options.timeoutMs ?? this.defaultTimeoutMs;
    if (offer === 'login') await logIn(this.live, user, password, timeoutMs, options);
    await findShell(this.live, user, timeoutMs, options);
    this.#shell = await GuestShell.take(this.live, user, timeoutMs);
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
    return target === undefined ? fetchBytes(shell, path, timeoutMs) : fetchFile(shell, path, target, timeoutMs);
  }

  /** Writes a file in the guest: bytes, or the contents of a file of this host's, for `{ file }`.
   *  @returns how many bytes it has. */
  async copyToGuest(
    source: Uint8Array | string | { readonly file: string },
    path: string,
    options: WaitOptions = {},
  ): Promise<number> {
    return sendFile(await this.#guest(options), source, path, options.timeoutMs ?? this.defaultTimeoutMs);
  }

  /** Types text on the console. */
  sendChars(text: string): void {
    this.console.write(text);
  }

  /** Keeps the whole machine as it is now, memory and disk, under a name. @see QMP snapshot-save */
  async save(tag: string): Promise<void> {
    await saveSnapshot(this.live, tag, this.bootTimeoutMs);
  }

  /** Puts the machine back to where it was saved: a warm start, without a boot. */
  async restore(tag: string): Promise<void> {
    await restoreSnapshot(this.live, tag, this.bootTimeoutMs);
  }

  /** Restarts the guest in order and waits for its login prompt. */
  async reboot(options: WaitOptions = {}): Promise<void> {
    const shell = this.#shell;
    this.#shell = undefined;
    this.#powerOff = undefined;
    const timeoutMs = options.timeoutMs ?? this.bootTimeoutMs;
    await restart(this.live, timeoutMs, shell === undefined ? undefined : () => shell.leave('reboot'));
    await this.waitForLoginPrompt(options);
  }

  /** Whether somebody is logged in who may power the guest off: root, or who may become it without a password. */
  async mayPowerOff(): Promise<boolean> {
    if (this.#shell === undefined || this.live.exit !== undefined) return false;
    const question =
      'if [ "$(id -u)" = 0 ]; then echo poweroff; elif sudo -n true 2>/dev/null; then echo sudo -n poweroff; fi';
    this.#powerOff ??= (await this.#shell.execute(question, this.defaultTimeoutMs)).output.trim();
    return this.#powerOff !== '';
  }

  /** Shuts the guest down and waits until it is off: by a command where that is allowed, else by the power button.
   *  @throws {WaitTimeoutError} when it does not power off; {BootFailedError} when it fails at that. */
  async shutdown(options: WaitOptions = {}): Promise<MachineExit> {
    const live = this.live;
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

  /** Ends the machine if it runs, and removes its private files. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.live.end();
  }

  async #guest(options: WaitOptions): Promise<GuestShell> {
    if (this.#shell === undefined) await this.login('root', undefined, options);
    if (this.#shell === undefined) throw new HarnessError(`${this.name}: nobody is logged in`);
    return this.#shell;
  }
}
