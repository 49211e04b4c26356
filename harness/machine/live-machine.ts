import { createWriteStream, type WriteStream } from 'node:fs';
import { open, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import type { PrivateDirectory } from '../../lib/host-files/private-output.ts';
import { SerialConsole } from '../console/serial-console.ts';
import { type ConsoleEvidence, HarnessError, type MachineExit } from '../errors.ts';
import type { Architecture } from '../qemu/architecture.ts';
import { type QemuProcess, startQemu } from '../qemu/process.ts';
import { QmpClient, type QmpEvent } from '../qemu/qmp.ts';
import { BootWatch } from './boot-watch.ts';
import type { BootAnswers, MachineContext } from './machine-spec.ts';
import { readScreen, type Screen, screenText } from './screen.ts';

const LAST_LINES = 25;

/** A guest that floods its console fills no disk: of a longer record only its head and its end are kept. */
const LOG_BYTES = 64 * 1024 * 1024;
const LOG_HEAD_BYTES = 1024 * 1024;

export interface MachineParts {
  readonly name: string;
  readonly args: readonly string[];
  readonly directory: PrivateDirectory;
  /** QEMU's own record of the console. */
  readonly recordFile: string;
  /** Where the caller wants the console's record. */
  readonly logFile: string | undefined;
  readonly architecture: Architecture;
  readonly accelerator: 'kvm' | 'tcg';
  /** How much longer everything takes than on an unloaded host of today; 1 or more. */
  readonly slowness: number;
  readonly hasScreen: boolean;
  /** The kernel and the initrd are the caller's own, and so may be the root filesystem. */
  readonly isDirect: boolean;
  readonly commandTimeoutMs: number | undefined;
  readonly allowReboots: number;
  /** The machine's own store of EFI variables, and whether its firmware is to enforce Secure Boot; undefined without EFI. */
  readonly uefi: { readonly variablesFile: string; readonly secureBoot: boolean } | undefined;
  readonly answers: BootAnswers;
}

/** SerialConsole output that arrives within so many milliseconds of a restart was printed before it: QEMU's event is read sooner. */
const LAST_WORDS_MS = 1000;

/** QEMU with what is attached to it: the console and what is known from it, QMP, the record. Verbs are made of this. */
export class LiveMachine {
  readonly parts: MachineParts;
  readonly context: MachineContext;
  readonly qemu: QemuProcess;
  readonly console: SerialConsole;
  readonly watch: BootWatch;
  /** Milliseconds of performance.now() when QEMU was started. */
  readonly startedAt: number;
  readonly exited: Promise<MachineExit>;
  readonly events: QmpEvent[] = [];
  readonly version: Promise<string>;
  exit: MachineExit | undefined;
  hostFull = false;
  /** How often the guest restarted itself. */
  reboots = 0;
  /** It was told to restart. */
  expectsReset = false;
  /** What had been read from the disk when the kernel was first seen. */
  readBytesAtKernel = 0;
  /** What looked like a login prompt and was not confirmed. */
  unconfirmedPrompt: string | undefined;
  readonly #qmp: Promise<QmpClient | undefined>;
  readonly #wakers = new Set<() => void>();
  readonly #log: WriteStream | undefined;
  #recordedBytes = 0;
  /** When the guest restarted itself; undefined again once it has printed something. */
  #resetAt: number | undefined;
  #loggedBytes = 0;
  #picture: Buffer | undefined;
  #screenText = '';

  private constructor(
    parts: MachineParts,
    context: MachineContext,
    qemu: QemuProcess,
    console: SerialConsole,
    startedAt: number,
  ) {
    this.parts = parts;
    this.context = context;
    this.qemu = qemu;
    this.console = console;
    this.startedAt = startedAt;
    this.watch = new BootWatch((seen) => {
      if (seen.stage === 'kernel') this.#noteKernel();
      context.onStage?.(seen);
    });
    console.onText((text) => {
      this.watch.feed(text, this.now);
      this.wake();
    });
    if (parts.logFile !== undefined) {
      this.#log = createWriteStream(parts.logFile, { flags: 'a' });
      // A reader that has gone away ends no boot.
      this.#log.on('error', () => {});
    }
    this.#qmp = QmpClient.connect(
      join(parts.directory.path, 'qmp'),
      (event) => this.#take(event),
      () => qemu.isAlive(),
      context.signal,
    ).catch(() => undefined);
    if (parts.allowReboots > 0) this.qmp('set-action', { reboot: 'reset' }).catch(() => undefined);
    this.version = this.qmp('query-version').then(
      (answer) => {
        const { qemu: numbers, package: name } = answer as { qemu: Record<string, number>; package: string };
        return `${numbers.major}.${numbers.minor}.${numbers.micro} ${name}`.trim();
      },
      () => '',
    );
    this.exited = qemu.exited.then(async (end) => {
      await this.#takeLost();
      // The last event, which says why it ended, may be read after QEMU has gone.
      await (await this.#qmp)?.closed;
      const reason = this.events.findLast(({ event }) => event === 'SHUTDOWN')?.data.reason;
      this.exit = { ...end, reason: typeof reason === 'string' ? reason : undefined, durationMs: this.now };
      this.wake();
      return this.exit;
    });
    context.signal?.addEventListener('abort', () => this.wake(), { once: true });
  }

  static async start(parts: MachineParts, context: MachineContext): Promise<LiveMachine> {
    const startedAt = performance.now();
    let qemu: QemuProcess | undefined;
    let machine: LiveMachine | undefined;
    const console = new SerialConsole((data) => qemu?.write(data), {
      pause: () => qemu?.pause(),
      resume: () => qemu?.resume(),
    });
    const early: Uint8Array[] = [];
    const onData = (data: Uint8Array): void => {
      if (machine === undefined) early.push(data);
      else machine.#receive(data);
    };
    qemu = await startQemu(parts.args, onData, parts.architecture);
    machine = new LiveMachine(parts, context, qemu, console, startedAt);
    for (const data of early) machine.#receive(data);
    return machine;
  }

  /** Milliseconds since the machine was started. */
  get now(): number {
    return performance.now() - this.startedAt;
  }

  get signal(): AbortSignal | undefined {
    return this.context.signal;
  }

  /** Called whenever something has happened. Returns what ends it. */
  onWake(waker: () => void): () => void {
    this.#wakers.add(waker);
    return () => this.#wakers.delete(waker);
  }

  wake(): void {
    for (const waker of this.#wakers) waker();
  }

  /** Types what nobody told the harness to type here, and notes it. */
  type(keys: string, why: string, shown = keys): void {
    const { passphrase } = this.parts.answers;
    const at = this.watch.prompt || this.watch.lastLine;
    const line = passphrase === undefined || passphrase === '' ? at : at.replaceAll(passphrase, '(passphrase)');
    this.watch.typed.push({ keys: shown, line, atMs: this.now, why });
    this.console.write(keys);
  }

  async qmp(command: string, args?: Readonly<Record<string, unknown>>): Promise<unknown> {
    const client = await this.#qmp;
    if (client === undefined) throw new HarnessError(`${this.parts.name}: QEMU's QMP socket could not be reached`);
    return client.execute(command, args);
  }

  /** QEMU's registers as its monitor prints them; empty when they cannot be had. */
  async registers(): Promise<string> {
    return `${await this.qmp('human-monitor-command', { 'command-line': 'info registers' }).catch(() => '')}`;
  }

  /** How much the machine has read from its disk, and written to it, and how often. */
  async diskUse(): Promise<{ readonly readBytes: number; readonly operations: number } | undefined> {
    const stats = (await this.qmp('query-blockstats').catch(() => undefined)) as BlockStats[] | undefined;
    const disk = stats?.find(({ 'node-name': node }) => node === 'disk')?.stats;
    if (disk === undefined) return undefined;
    return { readBytes: disk.rd_bytes, operations: disk.rd_operations + disk.wr_operations };
  }

  async screenshot(): Promise<Screen> {
    if (!this.parts.hasScreen) throw new HarnessError(`${this.parts.name}: this machine has no screen`);
    return readScreen((command, args) => this.qmp(command, args), this.parts.directory.path);
  }

  /** Looks at the screen for what the console does not show. */
  async lookAtScreen(): Promise<void> {
    const screen = await this.screenshot().catch(() => undefined);
    if (screen === undefined || this.#picture?.equals(screen.png)) return;
    this.#picture = screen.png;
    const { lines, showsPrompt } = await screenText(screen);
    const text = lines.join('\n');
    if (text === this.#screenText) return;
    this.#screenText = text;
    this.watch.feedScreen(lines, this.now);
    if (showsPrompt) this.watch.elsewhere.note('login', this.now);
    this.wake();
  }

  /** What an error shows of this machine. */
  async evidence(): Promise<ConsoleEvidence> {
    const onlyScreen = this.watch.screenStage !== undefined || this.watch.fatal.some(({ on }) => on === 'screen');
    const screenLines = this.#screenText.split('\n').filter((line) => line !== '');
    return {
      stage: this.watch.furthest ?? 'none',
      lastLines:
        onlyScreen && screenLines.length > 0
          ? ['(the screen)', ...screenLines]
          : await this.console.lastLines(LAST_LINES),
      logFile: this.parts.logFile,
    };
  }

  /** Ends the machine if it runs, and removes its private files. */
  async end(): Promise<void> {
    this.qemu.kill();
    await this.exited;
    (await this.#qmp)?.[Symbol.dispose]();
    await new Promise<void>((resolve) => {
      if (this.#log === undefined || this.#log.closed || this.#log.errored !== null) resolve();
      else this.#log.end(() => resolve());
    });
    await this.parts.directory[Symbol.asyncDispose]();
  }

  /** What the loader read is not the system's. */
  #noteKernel(): void {
    this.diskUse()
      .then((use) => {
        this.readBytesAtKernel = use?.readBytes ?? 0;
      })
      .catch(() => undefined);
  }

  #receive(data: Uint8Array): void {
    this.#recordedBytes += data.length;
    if (this.#resetAt !== undefined && performance.now() - this.#resetAt > LAST_WORDS_MS) this.#beginAnew();
    if (this.#recordedBytes >= LOG_BYTES) {
      this.#recordedBytes = LOG_HEAD_BYTES;
      truncate(this.parts.recordFile, LOG_HEAD_BYTES).catch(() => undefined);
    }
    this.#loggedBytes += data.length;
    if (this.#loggedBytes < LOG_BYTES) this.#log?.write(data);
    this.console.feed(data);
    if (this.#resetAt !== undefined) this.watch.isWell(this.now);
    this.context.onConsole?.(data);
  }

  /** The pty may lose what came last before QEMU ended; its record has it. @see microsoft/node-pty 85 */
  async #takeLost(): Promise<void> {
    const { size } = await stat(this.parts.recordFile).catch(() => ({ size: 0 }));
    const lost = size - this.#recordedBytes;
    if (lost <= 0 || lost > LOG_HEAD_BYTES) return;
    await using record = await open(this.parts.recordFile, 'r');
    const { buffer, bytesRead } = await record.read(Buffer.alloc(lost), 0, lost, this.#recordedBytes);
    this.#receive(buffer.subarray(0, bytesRead));
    this.watch.pause(this.now);
  }

  #take(event: QmpEvent): void {
    this.events.push(event);
    // QEMU stops a machine whose disk cannot grow: that is the host's failure, and no wait would end.
    if (event.event === 'BLOCK_IO_ERROR' && event.data.nospace === true) this.hostFull = true;
    // A kernel asks in several ways for one restart.
    if (event.event === 'RESET' && event.data.guest === true && !this.expectsReset && this.#resetAt === undefined) {
      this.#resetAt = performance.now();
      this.reboots += 1;
      // Failures that led to the restart do not count.
      this.watch.isWell(this.now);
    }
    this.wake();
  }

  /** The restarted guest has printed something: its boot is followed from the start, and the next restart may be one too many. */
  #beginAnew(): void {
    this.#resetAt = undefined;
    this.watch.restart();
    this.#picture = undefined;
    this.#screenText = '';
    if (this.reboots >= this.parts.allowReboots) this.qmp('set-action', { reboot: 'shutdown' }).catch(() => undefined);
  }
}

interface BlockStats {
  readonly 'node-name'?: string;
  readonly stats: { readonly rd_bytes: number; readonly rd_operations: number; readonly wr_operations: number };
}
