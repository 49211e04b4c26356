import type { TypedKeys } from '../machine/boot-watch.ts';
import type { Firmware } from '../machine/machine-spec.ts';
import type { Architecture } from '../qemu/architecture.ts';
import type { KernelTimes } from '../verdict/kernel-clock.ts';
import type { BootStage, StageSeen } from '../verdict/stages.ts';
import type { Cause } from '../verdict/verdict.ts';
import type { SystemdTimes } from './systemd-times.ts';

export interface CheckReport {
  readonly name: string;
  readonly ok: boolean;
  /** What was found, or what is wrong. */
  readonly message: string | undefined;
  readonly durationMs: number;
}

export interface BootFailure extends Cause {
  readonly lastLines: readonly string[];
}

/** A failure or a finding that was to be tolerated. */
export interface IgnoredFailure {
  /** Its name, as --ignore was given it. */
  readonly code: string;
  readonly message: string;
}

/** Lines of a console that a report has at most: more than most boots print. */
export const CONSOLE_LINES = 1500;

/** What became of a boot. */
export interface BootReport {
  readonly image: string;
  readonly firmware: Firmware;
  /** Of the machine. */
  readonly architecture: Architecture;
  readonly accelerator: 'kvm' | 'tcg';
  /** Everything held: nothing is wrong with the image that can be seen, it booted, all checks passed, it shut down cleanly. */
  readonly ok: boolean;
  /** When each stage was first seen, in milliseconds since QEMU was started. */
  readonly timeline: readonly StageSeen[];
  readonly stageReached: BootStage | undefined;
  /** What the guest's own clocks say; undefined when the console did not show it, or systemd could not be asked. */
  readonly kernelTimes: KernelTimes | undefined;
  readonly systemdTimes: SystemdTimes | undefined;
  readonly checks: readonly CheckReport[];
  readonly failure: BootFailure | undefined;
  /** What was wrong and was to be tolerated. */
  readonly ignored: readonly IgnoredFailure[];
  /** What is worth knowing and does not make the verdict bad. */
  readonly warnings: readonly string[];
  /** Every key that was typed without being told to, or as an answer that was given, with the line it was typed at. */
  readonly typed: readonly TypedKeys[];
  /** How often the guest restarted itself, which was allowed. */
  readonly reboots: number;
  /** Whether the guest powered off when it was told to. */
  readonly cleanShutdown: boolean;
  readonly durationMs: number;
  /** Milliseconds until fewer machines ran than the host has processors. */
  readonly waitedMs: number;
  readonly qemuVersion: string;
  readonly qemuArgv: readonly string[];
  /** The console's last lines as a person would have seen them, CONSOLE_LINES at most. */
  readonly console: readonly string[];
  /** The file that has the whole console; undefined when none was asked for. */
  readonly logFile: string | undefined;
  /** The screen at the login, or at the failure: a PNG picture in base64. */
  readonly screenshot: string | undefined;
}
