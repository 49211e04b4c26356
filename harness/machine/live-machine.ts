import { createWriteStream, type WriteStream } from 'node:fs';
import { open, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import type { PrivateDirectory } from '../../lib/host-files/private-output.ts';
import { SerialConsole } from '../console/serial-console.ts';
import { type ConsoleEvidence, HarnessError, type MachineExit } from '../errors.ts';
import type { Architecture } from '../qemu/architecture.ts';
import { type QemuProcess, startQemu } from '../qemu/process.ts';
import { QmpClient, type QmpEvent } from '../qemu/qmp.ts';
import type { Tpm } from '../qemu/tpm.ts';
import { BootWatch } from './boot-watch.ts';
import type { BootAnswers, MachineContext } from './machine-spec.ts';
import { readScreen, type Screen, screenText } from './screen.ts';

const LAST_LINES = 25;

/** The longest log: of a longer one only the beginning and the end are kept, so that a guest cannot fill the disk. */
const LOG_BYTES = 64 * 1024 * 1024;
const LOG_HEAD_BYTES = 1024 * 1024;

export interface MachineParts {
  readonly name: string;
  readonly args: readonly string[];
  readonly directory: PrivateDirectory;
  /** QEMU's log of the console. */
  readonly recordFile: string;
  /** The caller's file for the console log. */
  readonly logFile: string | undefined;
  readonly architecture: Architecture;
  readonly accelerator: 'kvm' | 'tcg';
  /** How many times slower this host is than a current, idle one; 1 or more. */
  readonly slowness: number;
  readonly hasScreen: boolean;
  /** Whether the caller supplies the kernel and the initrd, so that the root filesystem may be the initrd. */
  readonly isDirect: boolean;
  readonly commandTimeoutMs: number | undefined;
  readonly allowReboots: number;
  /** The machine's own store of EFI variables, and whether its firmware is to enforce Secure Boot; undefined without EFI. */
  readonly uefi: { readonly variablesFile: string; readonly secureBoot: boolean } | undefined;
  readonly answers: BootAnswers;
  readonly tpm: Tpm | undefined;
}

/** Console output that arrives within this time after QEMU's reset event was printed before the reset. */
const LAST_WORDS_MS = 1000;

/** A running QEMU with its console, the state of its boot, QMP and the logs. The methods of Machine are built on this. */
export class LiveMachine {
  readonly parts: MachineParts;
  readonly context: MachineContext;
  readonly qemu: QemuProcess;
  readonly console: SerialConsole;
  readonly watch: BootWatch;
  /** When QEMU was started, in milliseconds of performance.now(). */
  readonly startedAt: number;
  readonly exited: Promise<MachineExit>;
  readonly events: QmpEvent[] = [];
  readonly version: Promise<string>;
  exit: MachineExit | undefined;
  hostFull = false;
  /** How many times the guest rebooted. */
  reboots = 0;
  /** Whether the harness requested a reset. */
  expectsReset = false;
  /** How many bytes had been read from the disk when the kernel started. */
  readBytesAtKernel = 0;
  /** A line that looked like a login prompt but could not be confirmed. */
  unconfirmedPrompt: string | undefined;
  readonly #qmp: Promise<QmpClient | undefined>;
  readonly #wakers = new Set<() => void>();
  readonly #log: WriteStream | undefined;
  #recordedBytes = 0;
  /** When the guest rebooted; undefined once it has printed something since. */
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
      // A reader that disappears must not end the boot.
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
      // The last event, with the reason, may arrive after QEMU has ended.
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

  /** Milliseconds since the start of the machine. */
  get now(): number {
    return performance.now() - this.startedAt;
  }

  get signal(): AbortSignal | undefined {
    return this.context.signal;
  }

  /** Calls `waker` after every event. @returns a function that removes it. */
  onWake(waker: () => void): () => void {
    this.#wakers.add(waker);
    return () => this.#wakers.delete(waker);
  }

  wake(): void {
    for (const waker of this.#wakers) waker();
  }

  /** Types keys that the caller did not request at this point, and records them. */
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

  /** Returns the CPU registers as QEMU's monitor prints them; empty if they are not available. */
  async registers(): Promise<string> {
    return `${await this.qmp('human-monitor-command', { 'command-line': 'info registers' }).catch(() => '')}`;
  }

  /** Returns the bytes read from the disk, and the number of read and write operations. */
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

  /** Reads the screen for text that the console does not show. */
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

  /** Collects the evidence for an error about this machine. */
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

  /** Ends the machine if it is running, and removes its private files. */
  async end(): Promise<void> {
    this.qemu.kill();
    await this.exited;
    (await this.#qmp)?.[Symbol.dispose]();
    await new Promise<void>((resolve) => {
      if (this.#log === undefined || this.#log.closed || this.#log.errored !== null) resolve();
      else this.#log.end(() => resolve());
    });
    await this.parts.tpm?.stop();
    await this.parts.directory[Symbol.asyncDispose]();
  }

  /** Records how much the loader has read, which does not count for the system. */
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

  /** Takes from QEMU's log what the pty lost when QEMU ended. @see microsoft/node-pty 85 */
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
    // QEMU stops a machine whose overlay cannot grow: the host failed, and no wait would end.
    if (event.event === 'BLOCK_IO_ERROR' && event.data.nospace === true) this.hostFull = true;
    // A kernel may request one reboot in several ways.
    if (event.event === 'RESET' && event.data.guest === true && !this.expectsReset && this.#resetAt === undefined) {
      this.#resetAt = performance.now();
      this.reboots += 1;
      // Failures that led to the reboot do not count.
      this.watch.isWell(this.now);
    }
    this.wake();
  }

  /** Follows the new boot after a reboot. If no further reboot is allowed, the next one ends the machine. */
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
