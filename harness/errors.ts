import { DiskImageError, type DiskImageErrorOptions } from '../lib/run/errors.ts';
import { formatDuration } from '../lib/units.ts';
import { ARCHITECTURES, type Architecture } from './qemu/architecture.ts';

/** What every error about a machine shows: how far the boot came, and what the console showed last. */
export interface ConsoleEvidence {
  readonly stage?: string | undefined;
  /** The last lines of the console, as a person would have seen them. */
  readonly lastLines: readonly string[];
  /** The whole record. */
  readonly logFile?: string | undefined;
}

function evidenceText({ stage, lastLines, logFile }: ConsoleEvidence): string {
  return [
    ...(stage === undefined ? [] : [`Stage reached: ${stage}`]),
    lastLines.length === 0
      ? 'The console showed nothing.'
      : `Last lines of the console:\n${lastLines.map((line) => `  ${line}`).join('\n')}`,
    ...(logFile === undefined ? [] : [`Whole console: ${logFile}`]),
  ].join('\n');
}

/** No descriptor names firmware that serves: the host lacks a package. */
export class FirmwareMissingError extends DiskImageError {
  readonly code = 'E_FIRMWARE_MISSING';

  constructor(architecture: Architecture, directories: readonly string[], rejected: readonly string[]) {
    const { machine, firmwarePackage } = ARCHITECTURES[architecture];
    super(`no UEFI firmware for ${architecture} ${machine} machines was found`, {
      detail: [
        `Descriptors were looked for in:`,
        ...directories.map((directory) => `  ${directory}`),
        ...rejected.map((line) => `  ${line}`),
      ].join('\n'),
      hint: `install it: apt-get install ${firmwarePackage} (Debian); with Nix, QEMU brings it along`,
    });
  }
}

/** QEMU ended while somebody waited for its guest: a crash, a kill, or a guest that powered itself off or reset. */
export class MachineExitedError extends DiskImageError {
  readonly code = 'E_MACHINE_EXITED';
  readonly evidence: ConsoleEvidence;
  readonly exit: MachineExit;

  constructor(
    machine: string,
    waitedFor: string,
    exit: MachineExit,
    evidence: ConsoleEvidence,
    options: DiskImageErrorOptions = {},
  ) {
    super(`${machine}: ended while waiting for ${waitedFor}; ${describeExit(exit)}`, {
      ...options,
      detail: evidenceText(evidence),
    });
    this.exit = exit;
    this.evidence = evidence;
  }
}

/** How a machine ended. */
export interface MachineExit {
  readonly exitCode: number | undefined;
  readonly signal: string | undefined;
  /** QMP's SHUTDOWN reason: "guest-shutdown", "guest-reset", "guest-panic", "host-qmp-quit"; undefined when QEMU died without one. */
  readonly reason: string | undefined;
  readonly durationMs: number;
}

function describeExit({ exitCode, signal, reason }: MachineExit): string {
  if (signal !== undefined) return `QEMU was killed by ${signal}`;
  if (reason !== undefined) return `the machine ended: ${reason}`;
  return `QEMU exited with status ${exitCode}`;
}

/** A deadline passed. */
export class WaitTimeoutError extends DiskImageError {
  readonly code = 'E_WAIT_TIMEOUT';
  readonly evidence: ConsoleEvidence;
  readonly waitedFor: string;
  readonly timeoutMs: number;

  constructor(machine: string, waitedFor: string, timeoutMs: number, evidence: ConsoleEvidence) {
    super(`${machine}: waited ${formatDuration(timeoutMs)} for ${waitedFor}, which did not come`, {
      detail: evidenceText(evidence),
    });
    this.evidence = evidence;
    this.waitedFor = waitedFor;
    this.timeoutMs = timeoutMs;
  }
}

/** The image does not boot. The harness is well. */
export class BootFailedError extends DiskImageError {
  readonly code = 'E_BOOT_FAILED';
  /** A word for programs, such as "kernel-panic": the name of a failure pattern or of a finding. */
  readonly failure: string;
  /** When what shows it was seen, in milliseconds since the machine was started. */
  readonly seenAtMs: number | undefined;
  /** The line of the console that decided it. */
  readonly line: string | undefined;
  readonly stage: string;
  readonly reason: string;
  readonly evidence: ConsoleEvidence;

  constructor(
    machine: string,
    stage: string,
    reason: string,
    evidence: ConsoleEvidence,
    {
      name = 'boot-failed',
      seenAtMs,
      line,
      ...options
    }: DiskImageErrorOptions & {
      readonly name?: string;
      readonly seenAtMs?: number | undefined;
      readonly line?: string | undefined;
    } = {},
  ) {
    super(`${machine}: boot failed in stage "${stage}": ${reason}`, {
      ...options,
      detail: evidenceText({ ...evidence, stage: undefined }),
    });
    this.failure = name;
    this.seenAtMs = seenAtMs;
    this.line = line;
    this.stage = stage;
    this.reason = reason;
    this.evidence = evidence;
  }
}

/** The guest is not as a check expects. The harness is well. */
export class AssertionFailedError extends DiskImageError {
  readonly code = 'E_ASSERTION_FAILED';
}

/** The harness or the host failed: QEMU would not start, a socket did not come. */
export class HarnessError extends DiskImageError {
  readonly code = 'E_HARNESS';
}
