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
  /** What the check found, or why it failed. */
  readonly message: string | undefined;
  readonly durationMs: number;
}

export interface BootFailure extends Cause {
  readonly lastLines: readonly string[];
}

/** A failure or a finding that the `ignore` option tolerates. */
export interface IgnoredFailure {
  /** Its name in the `ignore` option. */
  readonly code: string;
  readonly message: string;
}

/** Lines of a console that a report has at most: more than most boots print. */
export const CONSOLE_LINES = 1500;

/** The result of a boot. */
export interface BootReport {
  readonly image: string;
  readonly firmware: Firmware;
  /** The machine's architecture. */
  readonly architecture: Architecture;
  readonly accelerator: 'kvm' | 'tcg';
  /** True if nothing was found wrong with the image, it booted, all checks passed and it shut down cleanly. */
  readonly ok: boolean;
  /** When each stage was first seen, in milliseconds since the start of QEMU. */
  readonly timeline: readonly StageSeen[];
  readonly stageReached: BootStage | undefined;
  /** What the guest's own clocks say; undefined when the console did not show it, or systemd could not be asked. */
  readonly kernelTimes: KernelTimes | undefined;
  readonly systemdTimes: SystemdTimes | undefined;
  readonly checks: readonly CheckReport[];
  readonly failure: BootFailure | undefined;
  /** Failures and findings that the `ignore` option tolerated. */
  readonly ignored: readonly IgnoredFailure[];
  /** Problems that do not make the verdict bad. */
  readonly warnings: readonly string[];
  /** Keys that the harness typed by itself or as a configured answer, each with the line that it was typed at. */
  readonly typed: readonly TypedKeys[];
  /** How many times the guest rebooted, as allowed. */
  readonly reboots: number;
  /** Whether the guest powered off on request. */
  readonly cleanShutdown: boolean;
  readonly durationMs: number;
  /** Milliseconds spent waiting because the host already ran as many machines as it has processors. */
  readonly waitedMs: number;
  readonly qemuVersion: string;
  readonly qemuArgv: readonly string[];
  /** The console's last lines, as displayed by a terminal; at most CONSOLE_LINES. */
  readonly console: readonly string[];
  /** The file that has the whole console; undefined when none was asked for. */
  readonly logFile: string | undefined;
  /** The screen at the login or at the failure: a PNG image in base64. */
  readonly screenshot: string | undefined;
}
