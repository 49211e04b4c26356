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

/** A running machine, with the methods of the NixOS test driver. */
export class Machine extends MachineFacts implements AsyncDisposable {
  #shell: GuestShell | undefined;
  #user = 'root';
  /** The command that powers the guest off; empty if the user may not run one. */
  #powerOff: string | undefined;

  /** @internal Use startMachine. */
  static async start(parts: MachineParts, context: MachineContext): Promise<Machine> {
    return new Machine(await LiveMachine.start(parts, context));
  }

  /** Whether a user is logged in, so that commands can run. */
  get isLoggedIn(): boolean {
    return this.#shell !== undefined;
  }
  /** The user who is logged in. */
  get user(): string {
    return this.#user;
  }
  /** Waits until the console shows `pattern` after the last match.
   *  @throws {BootFailedError} if the console shows a failure; {MachineExitedError} if the machine ends; {WaitTimeoutError};
   *  {AbortedError}. */
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

  /** Waits for the login prompt, or for a shell without a login. A prompt counts only after the start of the system's init, at the
   *  end of the output, and if it reappears after Enter. HangWatch decides whether a silent machine hangs.
   *  @throws {BootFailedError} if the boot stops, or asks a question without a configured answer. */
  async waitForLoginPrompt(
    options: WaitOptions = {},
    { loginFollows = false }: { readonly loginFollows?: boolean } = {},
  ): Promise<ConsoleOffers> {
    // The limit is long, because a boot that hangs is detected earlier.
    const timeoutMs = options.timeoutMs ?? 3 * this.bootTimeoutMs;
    const offer = await waitForOffer(this.live, timeoutMs, options, { loginFollows });
    this.console.skip();
    return offer;
  }

  /** Logs in on the serial console, unless a shell is already open there, so that commands can run. Works with every shell that has
   *  `exec sh`, in any language.
   *  @throws {BootFailedError} if the login is refused, asks for anything else, or leads to no shell. */
  async login(user = 'root', password?: string, options: WaitOptions = {}): Promise<void> {
    const offer = await this.waitForLoginPrompt(options, { loginFollows: true });
    const timeoutMs = options.timeoutMs ?? this.defaultTimeoutMs;
    if (offer === 'login') await logIn(this.live, user, password, timeoutMs, options);
    await findShell(this.live, user, timeoutMs, options);
    this.#shell = await GuestShell.take(this.live, user, timeoutMs);
    this.#user = user;
    this.stages.note('login', performance.now() - this.startedAt);
  }

  /** Runs a shell command in the guest; logs in as root first if no user is logged in. Does not wait for processes that the command
   *  leaves in the background.
   *  @returns its exit status and its output.
   *  @throws {WaitTimeoutError} if it does not end in time; it is interrupted, and the next command can run. */
  async execute(command: string, options: WaitOptions = {}): Promise<GuestResult> {
    return (await this.#guest(options)).execute(command, options.timeoutMs ?? this.defaultTimeoutMs);
  }

  /** Runs a command that must succeed.
   *  @returns its output without the last newline.
   *  @throws {AssertionFailedError} with its output if it fails. */
  async succeed(command: string, options: WaitOptions = {}): Promise<string> {
    const { exitCode, output } = await this.execute(command, options);
    if (exitCode !== 0)
      throw new AssertionFailedError(`${this.name}: "${command}" exited with status ${exitCode}; expected 0`, {
        detail: output,
      });
    return output.replace(/\n$/, '');
  }

  /** Runs a command that must fail.
   *  @throws {AssertionFailedError} if it succeeds. */
  async fail(command: string, options: WaitOptions = {}): Promise<string> {
    const { exitCode, output } = await this.execute(command, options);
    if (exitCode === 0)
      throw new AssertionFailedError(`${this.name}: "${command}" succeeded; expected it to fail`, { detail: output });
    return output.replace(/\n$/, '');
  }

  /** Repeats a command in the guest every second, by the guest's clock, until it succeeds.
   *  @returns its output. @throws {WaitTimeoutError} with the output of the last attempt. */
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
   *  @throws {AssertionFailedError} with its log as soon as it has failed. */
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

  /** Copies a file from the guest to this host.
   *  @returns its contents, or the number of bytes written to `target`.
   *  @throws {AssertionFailedError} if it cannot be read. */
  async copyFromGuest(path: string): Promise<Buffer>;
  async copyFromGuest(path: string, target: string, options?: WaitOptions): Promise<number>;
  async copyFromGuest(path: string, target?: string, options: WaitOptions = {}): Promise<Buffer | number> {
    const shell = await this.#guest(options);
    const timeoutMs = options.timeoutMs ?? this.defaultTimeoutMs;
    return target === undefined ? fetchBytes(shell, path, timeoutMs) : fetchFile(shell, path, target, timeoutMs);
  }

  /** Writes a file in the guest: from bytes or text, or with `{ file }` from a file on this host.
   *  @returns the number of bytes written. */
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

  /** Saves a snapshot of the machine, memory and disk, under a name. @see QMP snapshot-save */
  async save(tag: string): Promise<void> {
    await saveSnapshot(this.live, tag, this.bootTimeoutMs);
  }

  /** Restores a snapshot of the machine, without a boot. */
  async restore(tag: string): Promise<void> {
    await restoreSnapshot(this.live, tag, this.bootTimeoutMs);
  }

  /** Reboots the guest and waits for its login prompt. */
  async reboot(options: WaitOptions = {}): Promise<void> {
    const shell = this.#shell;
    this.#shell = undefined;
    this.#powerOff = undefined;
    const timeoutMs = options.timeoutMs ?? this.bootTimeoutMs;
    await restart(this.live, timeoutMs, shell === undefined ? undefined : () => shell.leave('reboot'));
    await this.waitForLoginPrompt(options);
  }

  /** Returns whether the user who is logged in may power the guest off: root, or a user with sudo without a password. */
  async mayPowerOff(): Promise<boolean> {
    if (this.#shell === undefined || this.live.exit !== undefined) return false;
    const question =
      'if [ "$(id -u)" = 0 ]; then echo poweroff; elif sudo -n true 2>/dev/null; then echo sudo -n poweroff; fi';
    this.#powerOff ??= (await this.#shell.execute(question, this.defaultTimeoutMs)).output.trim();
    return this.#powerOff !== '';
  }

  /** Shuts the guest down and waits until it is off: by a command if the user may run it, otherwise by the power button.
   *  @throws {WaitTimeoutError} if it does not power off; {BootFailedError} if it shows a failure. */
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

  /** Kills the machine, like a power failure. */
  async crash(): Promise<MachineExit> {
    this.qemu.kill();
    return this.exited;
  }

  /** Ends the machine if it is running, and removes its private files. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.live.end();
  }

  async #guest(options: WaitOptions): Promise<GuestShell> {
    if (this.#shell === undefined) await this.login('root', undefined, options);
    if (this.#shell === undefined) throw new HarnessError(`${this.name}: no user is logged in`);
    return this.#shell;
  }
}
