import { randomBytes } from 'node:crypto';
import { chmod, copyFile, readFile, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { type DiskFormat, inspectDiskImage } from '../lib/disk-image-format.ts';
import { AbortedError, InvalidOptionsError, NoSpaceError } from '../lib/errors.ts';
import { localExecutor } from '../lib/local-executor.ts';
import type { PrivateFolder } from '../lib/private-output.ts';
import { Console } from './console/console.ts';
import { type FailureSeen, FailureWatcher } from './console/failures.ts';
import { type StageSeen, StageTracker } from './console/stages.ts';
import {
  AssertionFailedError,
  BootFailedError,
  type ConsoleEvidence,
  HarnessError,
  type MachineExit,
  MachineExitedError,
  WaitTimeoutError,
} from './errors.ts';
import { makeMachineFolder } from './machine-folder.ts';
import { chooseAccelerator } from './qemu/accelerator.ts';
import {
  consoleArgs,
  type DiskInterface,
  diskArgs,
  entropyArgs,
  kernelArgs,
  type MachineType,
  machineArgs,
  overlayNode,
  qmpArgs,
  uefiFirmwareArgs,
} from './qemu/argv.ts';
import { findUefiFirmware } from './qemu/firmware.ts';
import { type QemuProcess, startQemu } from './qemu/process.ts';
import { QmpClient, type QmpEvent, settleWithin } from './qemu/qmp.ts';

export type Firmware = 'legacy' | 'efi' | 'direct';

/** A kernel that QEMU starts itself, for images without a loader. */
export interface DirectKernel {
  readonly kernel: string;
  readonly initrd?: string | undefined;
  /** The kernel's parameters, `init=` included. */
  readonly commandLine: string;
}

export interface MachineSpec {
  /** A disk image in any format of make-disk-image; only read. */
  readonly image: string;
  /** Default: told from the file's magic number. */
  readonly format?: DiskFormat | undefined;
  /** "legacy" is SeaBIOS, "efi" OVMF, "direct" starts `kernel` without firmware or loader. */
  readonly firmware: Firmware;
  readonly kernel?: DirectKernel | undefined;
  /** Default "virtio". */
  readonly diskInterface?: DiskInterface | undefined;
  /** The machine's disk is enlarged to this many bytes; default: as large as the image. */
  readonly diskBytes?: number | undefined;
  /** MiB; default 1024. */
  readonly memoryMiB?: number | undefined;
  /** Default 1. */
  readonly cpus?: number | undefined;
  /** Default: KVM where a functional probe finds that it works, else TCG. */
  readonly accelerator?: 'kvm' | 'tcg' | undefined;
  readonly machine?: MachineType | undefined;
  /** For messages; default: the image's name and the firmware. */
  readonly name?: string | undefined;
  /** Where the console's record is kept; default: with the machine's private files, which go when it ends. */
  readonly logFile?: string | undefined;
}

export interface MachineContext {
  readonly signal?: AbortSignal | undefined;
  readonly onStage?: ((seen: StageSeen) => void) | undefined;
  /** What the machine sends to its console, byte for byte. */
  readonly onConsole?: ((data: Uint8Array) => void) | undefined;
}

export interface WaitOptions {
  /** Milliseconds; default: the machine's own, which is longer under TCG. */
  readonly timeoutMs?: number | undefined;
  /** Give up when the console shows nothing new for this long, in milliseconds; default: never. */
  readonly silenceMs?: number | undefined;
}

/** What a command in the guest did. */
export interface GuestResult {
  readonly exitCode: number;
  /** Standard output and standard error, in the order they came. */
  readonly output: string;
}

const LAST_LINES = 25;

/** Longest line typed at once: a terminal in canonical mode takes 4095 bytes. */
const TYPED_CHARACTERS = 700;

/** Starts a machine from a disk image on a private overlay: whatever it does, the image's bytes stay as they are.
 *  @throws {InvalidOptionsError} for an image that cannot be booted as told; {ToolMissingError}, {FirmwareMissingError},
 *  {HarnessError} when the host lacks something.
 *  @see qemu(1). Runs: qemu-system-x86_64, qemu-img. */
export async function startMachine(spec: MachineSpec, context: MachineContext = {}): Promise<Machine> {
  if (context.signal?.aborted) throw new AbortedError('startMachine', { cause: context.signal.reason });
  if (!['legacy', 'efi', 'direct'].includes(spec.firmware))
    throw new InvalidOptionsError('startMachine', [
      { path: 'firmware', message: `${spec.firmware} is none of legacy, efi, direct` },
    ]);
  if (spec.memoryMiB !== undefined && !(Number.isInteger(spec.memoryMiB) && spec.memoryMiB >= 64))
    throw new InvalidOptionsError('startMachine', [
      { path: 'memoryMiB', message: 'must be a whole number of at least 64' },
    ]);
  const image = await inspectDiskImage(spec.image, spec.format);
  const accelerator = spec.accelerator ?? (await chooseAccelerator(context.signal)).accelerator;
  const type = spec.machine ?? 'q35';
  const name = spec.name ?? `${image.file.split('/').at(-1)} (${spec.firmware})`;
  const folder = await makeMachineFolder();
  try {
    const overlay = join(folder.path, 'overlay.qcow2');
    await runQemuImg(['create', '-q', '-f', 'qcow2', overlay, `${Math.max(spec.diskBytes ?? 0, image.virtualBytes)}`]);
    const logFile = spec.logFile === undefined ? join(folder.path, 'console.log') : resolve(spec.logFile);
    const args = [
      ...machineArgs({ type, accelerator, memoryMiB: spec.memoryMiB ?? 1024, cpus: spec.cpus ?? 1, name }),
      ...consoleArgs(logFile),
      ...qmpArgs(join(folder.path, 'qmp')),
      ...entropyArgs(type),
      ...(await firmwareArgs(spec, folder.path)),
      ...diskArgs(overlayNode(overlay, image.file, image.format), spec.diskInterface ?? 'virtio', type),
    ];
    return await Machine.start({ name, args, folder, logFile, accelerator }, context);
  } catch (error) {
    await folder[Symbol.asyncDispose]();
    throw error;
  }
}

async function firmwareArgs(spec: MachineSpec, folder: string): Promise<string[]> {
  if (spec.firmware === 'legacy') return [];
  if (spec.firmware === 'direct') {
    if (spec.kernel === undefined) throw new HarnessError('startMachine: firmware "direct" needs a kernel');
    return kernelArgs(spec.kernel.kernel, spec.kernel.initrd, spec.kernel.commandLine);
  }
  const firmware = await findUefiFirmware();
  const variables = join(folder, 'efi-vars');
  await copyFile(firmware.variablesTemplate, variables);
  await chmod(variables, 0o600);
  return uefiFirmwareArgs(
    { file: firmware.code, format: firmware.codeFormat },
    { file: variables, format: firmware.variablesFormat },
  );
}

async function runQemuImg(args: readonly string[]): Promise<void> {
  const result = await localExecutor.run(['qemu-img', ...args]);
  if (result.exitCode !== 0)
    throw new HarnessError(`qemu-img ${args[0]} failed`, { detail: result.stderr.toString('utf8') });
}

interface MachineParts {
  readonly name: string;
  readonly args: readonly string[];
  readonly folder: PrivateFolder;
  readonly logFile: string;
  readonly accelerator: 'kvm' | 'tcg';
}

/** A running machine, with the verbs of NixOS's own test driver. */
export class Machine implements AsyncDisposable {
  readonly name: string;
  readonly accelerator: 'kvm' | 'tcg';
  readonly logFile: string;
  readonly console: Console;
  readonly stages: StageTracker;
  /** Milliseconds of performance.now() when QEMU was started. */
  readonly startedAt: number;
  readonly qemu: QemuProcess;
  /** How it ended; settles when it has. */
  readonly exited: Promise<MachineExit>;
  readonly #parts: MachineParts;
  readonly #failures = new FailureWatcher();
  readonly #signal: AbortSignal | undefined;
  readonly #qmp: Promise<QmpClient | undefined>;
  readonly #events: QmpEvent[] = [];
  readonly #wakers = new Set<() => void>();
  #exit: MachineExit | undefined;
  #shellReady = false;
  #hostFull = false;

  private constructor(
    parts: MachineParts,
    context: MachineContext,
    qemu: QemuProcess,
    console: Console,
    startedAt: number,
  ) {
    this.name = parts.name;
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
      this.stages.feed(text, atMs);
      this.#failures.feed(text, atMs);
      this.#wake();
    });
    this.#qmp = QmpClient.connect(
      join(parts.folder.path, 'qmp'),
      (event) => this.#take(event),
      () => qemu.isAlive(),
      context.signal,
    ).catch(() => undefined);
    this.exited = qemu.exited.then((end) => {
      const shutdown = this.#events.find(({ event }) => event === 'SHUTDOWN');
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
    const console = new Console((data) => qemu?.write(data));
    qemu = await startQemu(parts.args, (data) => {
      console.feed(data);
      context.onConsole?.(data);
    });
    return new Machine(parts, context, qemu, console, startedAt);
  }

  /** What the console has shown of a boot that failed for good. */
  get failure(): FailureSeen | undefined {
    return this.#failures.seen;
  }

  /** Milliseconds a wait lasts when it is not told: emulated machines are ten times as slow. */
  get defaultTimeoutMs(): number {
    return this.accelerator === 'kvm' ? 60_000 : 300_000;
  }

  /** Waits until the console shows `pattern` behind the last match.
   *  @throws {BootFailedError} as soon as the console shows a failure; {MachineExitedError} when the machine ends;
   *  {WaitTimeoutError}; {AbortedError}. */
  async waitForConsoleText(pattern: RegExp | string, options: WaitOptions = {}): Promise<string> {
    const regexp = typeof pattern === 'string' ? new RegExp(pattern.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')) : pattern;
    return this.#waitUntil(() => this.console.take(regexp)?.[0], `the console to show ${regexp}`, options);
  }

  /** Waits for the login prompt. */
  async waitForLoginPrompt(options: WaitOptions = {}): Promise<void> {
    // Healthy boots are silent for up to 6 s under TCG on an idle host, longer on a loaded one.
    const silenceMs = options.silenceMs ?? (this.accelerator === 'kvm' ? 30_000 : 90_000);
    await this.#waitUntil(() => (this.stages.reached === 'login' ? true : undefined), 'the login prompt', {
      ...options,
      silenceMs,
    });
    this.console.skip();
  }

  /** Logs in on the serial console; afterwards commands can be run.
   *  @throws {BootFailedError} when the login is refused. */
  async login(user = 'root', password?: string, options: WaitOptions = {}): Promise<void> {
    await this.waitForLoginPrompt(options);
    this.console.write(`${user}\n`);
    const answered = await this.#waitUntil(
      () => this.console.take(/(?<password>Password: ?$)|(?<refused>Login incorrect)|(?<prompt>[#$%>] ?$)/)?.groups,
      'the shell after the login',
      options,
    );
    if (answered.password !== undefined) {
      if (password === undefined) throw await this.#bootFailed('login', `the login of ${user} asks for a password`);
      this.console.write(`${password}\n`);
      const next = await this.#waitUntil(
        () => this.console.take(/(?<refused>Login incorrect)|(?<prompt>[#$%>] ?$)/)?.groups,
        'the shell after the password',
        options,
      );
      if (next.refused !== undefined) throw await this.#bootFailed('login', `the login of ${user} was refused`);
    } else if (answered.refused !== undefined)
      throw await this.#bootFailed('login', `the login of ${user} was refused`);
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

  /** Types text on the console. */
  sendChars(text: string): void {
    this.console.write(text);
  }

  /** A QMP command, for what has no verb here. */
  async qmp(command: string, args?: Readonly<Record<string, unknown>>): Promise<unknown> {
    const client = await this.#qmp;
    if (client === undefined) throw new HarnessError(`${this.name}: QEMU's QMP socket could not be reached`);
    return client.execute(command, args);
  }

  /** Shuts the guest down and waits until it is off.
   *  @throws {WaitTimeoutError} when it does not. */
  async shutdown(options: WaitOptions = {}): Promise<MachineExit> {
    if (this.#exit !== undefined) return this.#exit;
    if (this.#shellReady) this.console.write('poweroff\n');
    else await this.qmp('system_powerdown');
    const timeoutMs = options.timeoutMs ?? this.defaultTimeoutMs;
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

  /** Turns a login shell into one to run commands in: no prompts, no kernel messages between, and no answers to the
   *  questions that a line editor asks, which would land in what is typed. */
  async #takeOverShell(options: WaitOptions): Promise<void> {
    this.console.answersQuestions = false;
    const id = randomBytes(4).toString('hex');
    this.console.write(
      `stty -echo; dmesg -n 1; export TERM=dumb PS1= PS2=; echo "${id.slice(0, 4)}""${id.slice(4)}"\n`,
    );
    await this.#waitUntil(() => this.console.take(new RegExp(id)), 'the shell to answer', options);
    this.#shellReady = true;
    this.stages.note('login', performance.now() - this.startedAt);
  }

  async #bootFailed(stage: string, reason: string): Promise<BootFailedError> {
    return new BootFailedError(this.name, stage, reason, await this.evidence());
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

  /** Races what is waited for against a failure on the console, the machine's end, an abort and the deadline. */
  async #waitUntil<T>(
    check: () => T | undefined,
    what: string,
    { timeoutMs = this.defaultTimeoutMs, silenceMs }: WaitOptions,
  ): Promise<T> {
    const found = await new Promise<{ value: T } | 'deadline' | 'silence' | 'full' | 'exit' | 'failure' | 'abort'>(
      (resolve) => {
        const attempt = (): void => {
          const value = check();
          if (value !== undefined) finish({ value });
          else if (this.#failures.seen !== undefined && !this.#shellReady) finish('failure');
          else if (this.#hostFull) finish('full');
          else if (this.#exit !== undefined) finish('exit');
          else if (this.#signal?.aborted) finish('abort');
        };
        const timer = setTimeout(() => finish('deadline'), timeoutMs);
        const listen = (): void => {
          if (silenceMs === undefined) return;
          const leftMs = this.console.lastByteAt + silenceMs - performance.now();
          if (leftMs <= 0) finish('silence');
          else silence = setTimeout(listen, leftMs + 1);
        };
        let silence: NodeJS.Timeout | undefined;
        listen();
        const finish = (
          result: { value: T } | 'deadline' | 'silence' | 'full' | 'exit' | 'failure' | 'abort',
        ): void => {
          clearTimeout(timer);
          clearTimeout(silence);
          this.#wakers.delete(attempt);
          resolve(result);
        };
        this.#wakers.add(attempt);
        attempt();
      },
    );
    if (typeof found === 'object') return found.value;
    if (found === 'abort') throw new AbortedError(this.name, { cause: this.#signal?.reason });
    if (found === 'full')
      throw new NoSpaceError(
        this.name,
        `${this.#parts.folder.path}, where the machine's private overlay is`,
        {},
        { hint: 'free space there, or set TMPDIR' },
      );
    const evidence = await this.#evidenceAtEnd();
    const failure = this.#failures.seen;
    if (failure !== undefined)
      throw new BootFailedError(
        this.name,
        failure.pattern.stage,
        `${failure.pattern.cause}: ${failure.line}`,
        evidence,
      );
    if (found === 'silence')
      throw new BootFailedError(
        this.name,
        this.stages.reached ?? 'firmware',
        `the console has shown nothing for ${(silenceMs ?? 0) / 1000} s`,
        evidence,
      );
    if (found === 'deadline') throw new WaitTimeoutError(this.name, what, timeoutMs, evidence);
    throw new MachineExitedError(this.name, what, await this.exited, evidence);
  }

  /** When QEMU has ended, its log file may hold bytes that the pty lost: the file is the record. */
  async #evidenceAtEnd(): Promise<ConsoleEvidence> {
    if (this.#exit !== undefined && this.#failures.seen === undefined) {
      const { size } = await stat(this.logFile).catch(() => ({ size: 0 }));
      if (size > 0) {
        const tail = (await readFile(this.logFile)).subarray(-64 * 1024).toString('utf8');
        this.#failures.feed(`${tail.replaceAll('\r', '')}\n`, this.#exit.durationMs);
      }
    }
    return this.evidence();
  }
}
