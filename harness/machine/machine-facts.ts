import type { SerialConsole } from '../console/serial-console.ts';
import type { ConsoleEvidence, MachineExit } from '../errors.ts';
import type { Architecture } from '../qemu/architecture.ts';
import type { QemuProcess } from '../qemu/process.ts';
import type { FailureSeen } from '../verdict/failures.ts';
import type { KernelTimes } from '../verdict/kernel-clock.ts';
import type { BootStage, StageTracker } from '../verdict/stages.ts';
import type { TypedKeys } from './boot-watch.ts';
import type { LiveMachine } from './live-machine.ts';
import type { Screen } from './screen.ts';
import { tolerated } from './wait.ts';

/** What is known of a running machine, and can be asked of QEMU. */
export abstract class MachineFacts {
  /** @internal QEMU and what is attached to it. */
  protected readonly live: LiveMachine;

  protected constructor(live: LiveMachine) {
    this.live = live;
  }

  get name(): string {
    return this.live.parts.name;
  }
  get architecture(): Architecture {
    return this.live.parts.architecture;
  }
  get accelerator(): 'kvm' | 'tcg' {
    return this.live.parts.accelerator;
  }
  get console(): SerialConsole {
    return this.live.console;
  }
  get qemu(): QemuProcess {
    return this.live.qemu;
  }
  /** Milliseconds of performance.now() when QEMU was started. */
  get startedAt(): number {
    return this.live.startedAt;
  }
  /** How it ended; settles when it has. */
  get exited(): Promise<MachineExit> {
    return this.live.exited;
  }
  /** How far the boot came, as the console shows it. */
  get stages(): StageTracker {
    return this.live.watch.stages;
  }
  /** What the kernel's own clock says; undefined when the console showed no line with its time. */
  get kernelTimes(): KernelTimes | undefined {
    return this.live.watch.kernelClock.times;
  }
  /** The file that keeps what the console shows. */
  get logFile(): string | undefined {
    return this.live.parts.logFile;
  }
  /** How far the boot came as the screen shows it, where that is further than the console. */
  get screenStage(): BootStage | undefined {
    return this.live.watch.screenStage;
  }
  /** What the console, and the screen where it was looked at, have shown of things that are wrong, in order. */
  get failures(): readonly FailureSeen[] {
    return tolerated(this.live);
  }
  /** Of those, the ones behind which the machine has not gone on. */
  get unsettled(): readonly FailureSeen[] {
    return this.failures.filter((seen) => !this.live.watch.isOver(seen));
  }
  /** Every key that was typed without being told to, or as an answer that was given. */
  get typed(): readonly TypedKeys[] {
    return this.live.watch.typed;
  }
  /** The kernel's parameters, as it printed them. */
  get kernelParameters(): string | undefined {
    return this.live.watch.kernelParameters;
  }
  /** How often the guest restarted itself. */
  get reboots(): number {
    return this.live.reboots;
  }
  /** Milliseconds a wait lasts when it is not told: emulated machines are ten times as slow. */
  get defaultTimeoutMs(): number {
    return this.live.parts.commandTimeoutMs ?? this.bootTimeoutMs;
  }
  /** Milliseconds until a machine that goes on has to be there. */
  get bootTimeoutMs(): number {
    return (this.accelerator === 'kvm' ? 60_000 : 300_000) * this.live.parts.slowness;
  }

  /** How much the guest has read from its disk since its kernel runs, in bytes; undefined when QEMU does not tell. */
  async readSinceKernel(): Promise<number | undefined> {
    const use = await this.live.diskUse();
    return use === undefined ? undefined : use.readBytes - this.live.readBytesAtKernel;
  }

  /** Takes a picture of the screen, and in a text mode reads it. */
  async screenshot(): Promise<Screen> {
    return this.live.screenshot();
  }

  /** A QMP command, for what has no verb here. */
  async qmp(command: string, args?: Readonly<Record<string, unknown>>): Promise<unknown> {
    return this.live.qmp(command, args);
  }

  /** "7.2.22 (Debian 1:7.2+dfsg-7)"; empty when QEMU was gone before it could be asked. */
  async qemuVersion(): Promise<string> {
    return this.live.version;
  }

  /** What an error shows of this machine. */
  async evidence(): Promise<ConsoleEvidence> {
    return this.live.evidence();
  }
}
