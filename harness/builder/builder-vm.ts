import { readFile } from 'node:fs/promises';
import { constants as osConstants } from 'node:os';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import type { Builder, SystemLocation } from '../../lib/build/context.ts';
import { CleanupStack } from '../../lib/run/cleanup-stack.ts';
import { AbortedError, NoSpaceError, ToolMissingError } from '../../lib/run/errors.ts';
import type { RunOptions, RunResult } from '../../lib/run/executor.ts';
import { OutputCollector } from '../../lib/run/output-collector.ts';
import { parseOptions } from '../../lib/run/parse-options.ts';
import { abortSignal, path, sectorSize, timestamp } from '../../lib/spec/fields.ts';
import { SerialConsole } from '../console/serial-console.ts';
import { HarnessError, type MachineExit, MachineExitedError, WaitTimeoutError } from '../errors.ts';
import {
  clockArgs,
  consoleArgs,
  diskArgs,
  entropyArgs,
  imageNode,
  kernelArgs,
  machineArgs,
  portArgs,
  qmpArgs,
} from '../qemu/argv.ts';
import { makeMachineDirectory } from '../qemu/machine-directory.ts';
import { type QemuProcess, startQemu } from '../qemu/process.ts';
import { connectUnixSocket, QmpClient, type QmpEvent, settleWithin } from '../qemu/qmp.ts';
import { FailureWatcher } from '../verdict/failures.ts';
import { chooseAccelerator } from './accelerator.ts';
import { builderInitrd } from './builder-initrd.ts';
import { type BuilderKernel, defaultKernel } from './builder-kernel.ts';
import { AgentChannel } from './builder-protocol.ts';

/** x86-64 machines, because they run this host's programs. */
const BUILDER_MACHINES = ['microvm', 'q35'] as const;

export interface StartBuilderVmOptions {
  /** A raw disk image; the VM writes to it as /dev/vda. */
  readonly image: string;
  /** The size of the disk's logical sectors, in bytes; default 512. */
  readonly sectorBytes?: 512 | 4096 | undefined;
  /** MiB; default 1024. */
  readonly memSizeMiB?: number | undefined;
  /** Default 1. */
  readonly cpus?: number | undefined;
  /** A kernel and its modules; default: the distribution's, downloaded into the cache, or that of `system`. */
  readonly kernel?: BuilderKernel | undefined;
  /** A NixOS system whose kernel is used if no other is available. */
  readonly system?: SystemLocation | undefined;
  /** Default: KVM if a probe shows that it works, otherwise TCG. */
  readonly accelerator?: 'kvm' | 'tcg' | undefined;
  /** Default "microvm"; "q35" for kernels that require PCI. */
  readonly machine?: (typeof BUILDER_MACHINES)[number] | undefined;
  /** The start time of its clock, in seconds since 1970; default: now. */
  readonly clock?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

const STEP = 'startBuilderVm';
const NAME = 'the builder VM';
const PORT = 'nixos-disk-image';
const READY_TIMEOUT_MS = 120_000;
const STOP_TIMEOUT_MS = 60_000;
const LAST_LINES = 25;
const GUEST_ENVIRONMENT = { PATH: '/bin', HOME: '/', TERM: 'dumb', LC_ALL: 'C' };

const optionsSchema = z.object({
  image: path,
  sectorBytes: sectorSize.optional(),
  memSizeMiB: z.int().min(64, 'must be at least 64 MiB').default(1024),
  cpus: z.int().min(1, 'must be at least 1').default(1),
  kernel: z.strictObject({ kernel: path, modules: path }).optional(),
  system: z.strictObject({ toplevel: path, store: path.optional() }).optional(),
  accelerator: z.enum(['kvm', 'tcg']).optional(),
  machine: z.enum(BUILDER_MACHINES).default('microvm'),
  clock: timestamp.optional(),
  signal: abortSignal.optional(),
});

/** Starts a Linux microVM with the image as /dev/vda. It is an Executor that runs commands as root.
 *  @throws {InvalidOptionsError} before anything is started.
 *  @throws {MachineExitedError} with the last lines of its console if it does not start.
 *  @throws {ToolMissingError}, {ToolFailedError} if its kernel or initrd cannot be made.
 *  Runs: qemu-system-x86_64; once, the programs that make its kernel and initrd. */
export async function startBuilderVm(input: StartBuilderVmOptions): Promise<BuilderVm> {
  const options = parseOptions(STEP, optionsSchema, input);
  const { signal, machine: type } = options;
  const kernel = options.kernel ?? (await defaultKernel(options.system));
  const initrd = await builderInitrd(kernel);
  const accelerator = options.accelerator ?? (await chooseAccelerator(signal)).accelerator;
  if (signal?.aborted) throw new AbortedError(NAME, { cause: signal.reason });
  await using stack = new CleanupStack();
  const directory = stack.use(await makeMachineDirectory());
  const socketPath = join(directory.path, 'port');
  const args = [
    ...machineArgs({
      type,
      accelerator,
      memoryMiB: options.memSizeMiB,
      cpus: options.cpus,
      name: 'builder',
    }),
    ...consoleArgs(join(directory.path, 'console.log')),
    ...kernelArgs(kernel.kernel, initrd, await commandLine(accelerator)),
    ...entropyArgs(type),
    ...portArgs(socketPath, PORT, type),
    ...qmpArgs(join(directory.path, 'qmp')),
    ...diskArgs(imageNode(resolve(options.image), 'raw'), 'virtio', type, { sectorBytes: options.sectorBytes }),
    ...(options.clock === undefined ? [] : clockArgs(options.clock)),
  ];
  const startedAt = performance.now();
  const console = new SerialConsole(() => {});
  const qemu = await startQemu(args, (data) => console.feed(data));
  stack.defer(async () => {
    qemu.kill();
    await qemu.exited;
  });
  const abort = (): void => qemu.kill();
  signal?.addEventListener('abort', abort, { once: true });
  stack.defer(() => signal?.removeEventListener('abort', abort));
  let waitedFor = 'its agent';
  let diskFailure: NoSpaceError | HarnessError | undefined;
  const died = qemu.exited.then(async (end): Promise<never> => {
    if (signal?.aborted) throw new AbortedError(NAME, { cause: signal.reason });
    if (diskFailure !== undefined) throw diskFailure;
    const failures = new FailureWatcher();
    for (const line of console.text.split('\n')) failures.line(line, 0, undefined);
    const fatal = failures.seen.find(({ pattern }) => pattern.severity === 'fatal');
    const exit: MachineExit = { ...end, reason: fatal?.line, durationMs: performance.now() - startedAt };
    throw new MachineExitedError(NAME, waitedFor, exit, { lastLines: await console.lastLines(LAST_LINES) });
  });
  died.catch(() => {});
  // The guest may not notice that a write failed, because QEMU stops it or it did not wait for the write. So end the machine.
  const onQmpEvent = ({ event, data }: QmpEvent): void => {
    if (event !== 'BLOCK_IO_ERROR') return;
    diskFailure ??=
      data.nospace === true
        ? new NoSpaceError(NAME, `the disk of ${options.image}`, {}, { hint: 'free space there' })
        : new HarnessError(`${NAME}: cannot ${String(data.operation)} ${options.image}: ${String(data.reason)}`);
    qemu.kill();
  };
  const qmp = QmpClient.connect(join(directory.path, 'qmp'), onQmpEvent, () => qemu.isAlive(), signal).catch(
    () => undefined,
  );
  stack.defer(async () => (await qmp)?.[Symbol.dispose]());
  const socket = await connectUnixSocket(socketPath, 'virtio-serial', () => qemu.isAlive(), signal).catch(
    (error: unknown) => {
      // If the machine has ended, its error explains more.
      if (qemu.isAlive()) throw error;
      return died;
    },
  );
  const channel = new AgentChannel(socket);
  died.catch((error: Error) => channel.lose(error));
  if (!(await Promise.race([settleWithin(channel.ready, READY_TIMEOUT_MS), died])))
    throw new WaitTimeoutError(NAME, 'its agent', READY_TIMEOUT_MS, { lastLines: await console.lastLines(LAST_LINES) });
  waitedFor = 'a command to end';
  return new BuilderVm(channel, qemu, console, stack.move(), performance.now() - startedAt);
}

/** Returns the kernel parameters. Under TCG they contain the frequency of the TSC, which is the host's: calibrating it hangs on a
 *  loaded host, and a wrong value makes the guest's clock run fast or slow. */
async function commandLine(accelerator: 'kvm' | 'tcg'): Promise<string> {
  const always = 'console=ttyS0 quiet panic=-1 reboot=t';
  if (accelerator === 'kvm') return always;
  const mhz = /^cpu MHz\s*:\s*([\d.]+)/m.exec(await readFile('/proc/cpuinfo', 'utf8'))?.[1];
  const khz = mhz === undefined ? 2_000_000 : Math.round(Number(mhz) * 1000);
  return `${always} tsc_early_khz=${khz} tsc=reliable mitigations=off`;
}

/** The running builder VM. */
export class BuilderVm implements Builder {
  readonly name = NAME;
  /** Milliseconds from the start of QEMU until commands could run. */
  readonly readyMs: number;
  readonly console: SerialConsole;
  readonly #channel: AgentChannel;
  readonly #exited: Promise<unknown>;
  /** QEMU's PID. */
  readonly pid: number;
  readonly #stack: CleanupStack;
  #stopped = false;

  /** @internal Use startBuilderVm. */
  constructor(channel: AgentChannel, qemu: QemuProcess, console: SerialConsole, stack: CleanupStack, readyMs: number) {
    this.#channel = channel;
    this.#exited = qemu.exited;
    this.pid = qemu.pid;
    this.console = console;
    this.#stack = stack;
    this.readyMs = readyMs;
  }

  /** Returns the device of a partition of the image, or of the whole disk if the layout has no partitions ("none"). */
  device({ number }: { readonly number: number | undefined }): string {
    return `/dev/vda${number ?? ''}`;
  }

  /** @deprecated Use `device`. */
  partition(partition: { readonly number: number | undefined }): string {
    return this.device(partition);
  }

  async run(argv: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    const [tool] = argv;
    if (tool === undefined) throw new RangeError('run requires a program');
    if (options.signal?.aborted) throw new AbortedError(tool, { cause: options.signal.reason });
    const startedAt = performance.now();
    const stdout = new OutputCollector(options.onStdout, options.maxOutputBytes);
    const stderr = new OutputCollector(options.onStderr, options.maxOutputBytes);
    const command = this.#channel.start({
      argv,
      env: { ...GUEST_ENVIRONMENT, ...options.env },
      cwd: options.cwd ?? '',
      input: options.input,
      onStdout: stdout.push,
      onStderr: stderr.push,
    });
    const abort = (): void => command.kill();
    options.signal?.addEventListener('abort', abort, { once: true });
    try {
      const end = await command.ended;
      if (options.signal?.aborted) throw new AbortedError(tool, { cause: options.signal.reason });
      if (end.startFailure === 'ENOENT') throw new ToolMissingError(NAME, tool);
      if (end.startFailure !== undefined)
        throw new HarnessError(`${NAME}: ${tool} could not be started: ${end.startFailure}`);
      return {
        argv,
        exitCode: end.exitCode,
        signal: signalName(end.signal),
        stdout: stdout.bytes(),
        stderr: stderr.bytes(),
        durationMs: performance.now() - startedAt,
      };
    } finally {
      options.signal?.removeEventListener('abort', abort);
    }
  }

  /** Shuts the machine down; afterwards, all writes are in the image file.
   *  @throws {WaitTimeoutError} if it does not power off. */
  async stop(): Promise<void> {
    if (this.#stopped) return;
    await this.run(['sync']);
    this.#stopped = true;
    // The machine ends while the command runs, so the command never returns.
    this.run(['poweroff', '-f']).catch(() => {});
    if (!(await settleWithin(this.#exited, STOP_TIMEOUT_MS)))
      throw new WaitTimeoutError(NAME, 'the machine to power off', STOP_TIMEOUT_MS, {
        lastLines: await this.console.lastLines(LAST_LINES),
      });
    await this.#stack[Symbol.asyncDispose]();
  }

  /** Kills the machine, like a power failure. Does nothing after `stop`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack[Symbol.asyncDispose]();
  }
}

function signalName(number: number | undefined): string | undefined {
  if (number === undefined) return undefined;
  return Object.entries(osConstants.signals).find(([, value]) => value === number)?.[0] ?? `signal ${number}`;
}
