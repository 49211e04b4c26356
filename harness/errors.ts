import { DiskImageError, type DiskImageErrorOptions } from '../lib/run/errors.ts';
import { formatDuration } from '../lib/units.ts';
import { ARCHITECTURES, type Architecture } from './qemu/architecture.ts';

/** Evidence in every error about a machine: the stage that the boot reached and the end of the console. */
export interface ConsoleEvidence {
  readonly stage?: string | undefined;
  /** The last lines of the console, as displayed by a terminal. */
  readonly lastLines: readonly string[];
  /** The file with the complete console output. */
  readonly logFile?: string | undefined;
}

function evidenceText({ stage, lastLines, logFile }: ConsoleEvidence): string {
  return [
    ...(stage === undefined ? [] : [`Stage reached: ${stage}`]),
    lastLines.length === 0
      ? 'The console printed nothing.'
      : `Last lines of the console:\n${lastLines.map((line) => `  ${line}`).join('\n')}`,
    ...(logFile === undefined ? [] : [`Whole console: ${logFile}`]),
  ].join('\n');
}

/** Thrown if no firmware descriptor on this host describes usable firmware: a package is missing. */
export class FirmwareMissingError extends DiskImageError {
  readonly code = 'E_FIRMWARE_MISSING';

  constructor(architecture: Architecture, directories: readonly string[], rejected: readonly string[]) {
    const { machine, firmwarePackage } = ARCHITECTURES[architecture];
    super(`no UEFI firmware for ${architecture} ${machine} machines was found`, {
      detail: [
        `Searched for firmware descriptors in:`,
        ...directories.map((directory) => `  ${directory}`),
        ...rejected.map((line) => `  ${line}`),
      ].join('\n'),
      hint: `install it: apt-get install ${firmwarePackage} (Debian); with Nix, QEMU includes it`,
    });
  }
}

/** Thrown if QEMU ended during a wait for its guest: it crashed or was killed, or the guest powered off or reset. */
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
  /** The reason in QMP's SHUTDOWN event: "guest-shutdown", "guest-reset", "guest-panic", "host-qmp-quit"; undefined if QEMU died
   *  without one. */
  readonly reason: string | undefined;
  readonly durationMs: number;
}

function describeExit({ exitCode, signal, reason }: MachineExit): string {
  if (signal !== undefined) return `QEMU was killed by ${signal}`;
  if (reason !== undefined) return `the machine ended: ${reason}`;
  return `QEMU exited with status ${exitCode}`;
}

/** Thrown if a wait reached its time limit. */
export class WaitTimeoutError extends DiskImageError {
  readonly code = 'E_WAIT_TIMEOUT';
  readonly evidence: ConsoleEvidence;
  readonly waitedFor: string;
  readonly timeoutMs: number;

  constructor(machine: string, waitedFor: string, timeoutMs: number, evidence: ConsoleEvidence) {
    super(`${machine}: timed out after ${formatDuration(timeoutMs)} while waiting for ${waitedFor}`, {
      detail: evidenceText(evidence),
    });
    this.evidence = evidence;
    this.waitedFor = waitedFor;
    this.timeoutMs = timeoutMs;
  }
}

/** Thrown if the image does not boot; the harness works. */
export class BootFailedError extends DiskImageError {
  readonly code = 'E_BOOT_FAILED';
  /** An identifier for programs, such as "kernel-panic": the name of a failure pattern, a question or a finding. */
  readonly failure: string;
  /** When the evidence was seen, in milliseconds since the start of the machine. */
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

/** Thrown if the guest is not as a check expects; the harness works. */
export class AssertionFailedError extends DiskImageError {
  readonly code = 'E_ASSERTION_FAILED';
}

/** Thrown if the harness or the host failed: QEMU did not start, or a socket did not appear. */
export class HarnessError extends DiskImageError {
  readonly code = 'E_HARNESS';
}
