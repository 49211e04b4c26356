import { readFile } from 'node:fs/promises';
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

/** The read-only state of a running machine, from its console and from QEMU. */
export abstract class MachineFacts {
  /** @internal QEMU with its console and QMP. */
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
  /** When QEMU was started, in milliseconds of performance.now(). */
  get startedAt(): number {
    return this.live.startedAt;
  }
  /** Resolves when the machine has ended, with how it ended. */
  get exited(): Promise<MachineExit> {
    return this.live.exited;
  }
  /** The stages that the console shows. */
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
  /** The stage that the boot reached according to the screen or the processor, if it is later than the console's. */
  get screenStage(): BootStage | undefined {
    return this.live.watch.screenStage;
  }
  /** Failures that the console and the screen have shown, in order. */
  get failures(): readonly FailureSeen[] {
    return tolerated(this.live);
  }
  /** The failures after which the machine has not continued. */
  get unsettled(): readonly FailureSeen[] {
    return this.failures.filter((seen) => !this.live.watch.isOver(seen));
  }
  /** Keys that the harness typed by itself or as a configured answer. */
  get typed(): readonly TypedKeys[] {
    return this.live.watch.typed;
  }
  /** The kernel parameters, as the kernel printed them. */
  get kernelParameters(): string | undefined {
    return this.live.watch.kernelParameters;
  }
  /** How many times the guest rebooted. */
  get reboots(): number {
    return this.live.reboots;
  }
  /** The default time limit of a wait in milliseconds. */
  get defaultTimeoutMs(): number {
    return this.live.parts.commandTimeoutMs ?? this.bootTimeoutMs;
  }
  /** The time limit of a boot in milliseconds; longer under TCG. */
  get bootTimeoutMs(): number {
    return (this.accelerator === 'kvm' ? 60_000 : 300_000) * this.live.parts.slowness;
  }

  /** Whether its firmware is to enforce Secure Boot. */
  get secureBoot(): boolean {
    return this.live.parts.uefi?.secureBoot === true;
  }

  /** The store of EFI variables as the firmware has it now; undefined without EFI. */
  async efiVariables(): Promise<Buffer | undefined> {
    const { uefi } = this.live.parts;
    return uefi === undefined ? undefined : readFile(uefi.variablesFile);
  }

  /** Returns how many bytes the guest has read from its disk since its kernel started; undefined if QEMU does not report it. */
  async readSinceKernel(): Promise<number | undefined> {
    const use = await this.live.diskUse();
    return use === undefined ? undefined : use.readBytes - this.live.readBytesAtKernel;
  }

  /** Takes a screenshot, with its text if the screen is in a text mode. */
  async screenshot(): Promise<Screen> {
    return this.live.screenshot();
  }

  /** Runs a QMP command, for features without a method here. */
  async qmp(command: string, args?: Readonly<Record<string, unknown>>): Promise<unknown> {
    return this.live.qmp(command, args);
  }

  /** Returns QEMU's version, such as "7.2.22 (Debian 1:7.2+dfsg-7)"; empty if QEMU ended before it reported it. */
  async qemuVersion(): Promise<string> {
    return this.live.version;
  }

  /** Collects the evidence for an error about this machine. */
  async evidence(): Promise<ConsoleEvidence> {
    return this.live.evidence();
  }
}
