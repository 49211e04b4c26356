import type { EfiArchitecture } from '../../lib/inspect/efi-boot.ts';
import type { Finding } from '../../lib/inspect/finding.ts';
import { type ImageInspection, inspectImage } from '../../lib/inspect/inspect-image.ts';
import { AssertionFailedError, BootFailedError, MachineExitedError, WaitTimeoutError } from '../errors.ts';
import { admit, type Place } from '../machine/admission.ts';
import type { Machine } from '../machine/machine.ts';
import type { MachineContext, MachineSpec } from '../machine/machine-spec.ts';
import { startMachine } from '../machine/start-machine.ts';
import { ARCHITECTURES, type Architecture, architectureOf } from '../qemu/architecture.ts';
import { BOOT_STAGES, type BootStage, isBefore, type StageSeen } from '../verdict/stages.ts';
import type { BootCheck } from './checks.ts';

export interface VerifyBootOptions extends MachineSpec {
  /** Who logs in on the serial console; default root without a password. `false`: a login prompt is enough, on the serial
   *  console or on the screen, and no checks are run. */
  readonly login?: { readonly user: string; readonly password?: string | undefined } | false | undefined;
  /** What must be true inside. */
  readonly checks?: readonly BootCheck[] | undefined;
  /** Milliseconds until the login prompt must be there; default: as long as the boot goes on. */
  readonly timeoutMs?: number | undefined;
  /** What inspectImage found; default: it is asked. */
  readonly inspection?: ImageInspection | undefined;
}

export interface CheckReport {
  readonly name: string;
  readonly ok: boolean;
  /** What was found, or what is wrong. */
  readonly message: string | undefined;
  readonly durationMs: number;
}

/** What became of a boot. */
export interface BootReport {
  readonly image: string;
  readonly firmware: MachineSpec['firmware'];
  /** Of the machine. */
  readonly architecture: Architecture;
  readonly accelerator: 'kvm' | 'tcg';
  /** Everything held: nothing is wrong with the image that can be seen, it booted, all checks passed, it shut down cleanly. */
  readonly ok: boolean;
  /** When each stage was first seen, in milliseconds since QEMU was started. */
  readonly timeline: readonly StageSeen[];
  readonly stageReached: BootStage | undefined;
  readonly checks: readonly CheckReport[];
  readonly failure: BootFailure | undefined;
  /** What is worth knowing and does not make the verdict bad. */
  readonly warnings: readonly string[];
  /** Whether the guest powered off when it was told to. */
  readonly cleanShutdown: boolean;
  readonly durationMs: number;
  /** Milliseconds until fewer machines ran than the host has processors. */
  readonly waitedMs: number;
  readonly qemuVersion: string;
  readonly qemuArgv: readonly string[];
  /** The console's last lines as a person would have seen them. */
  readonly console: readonly string[];
  /** The screen at the login, or at the failure: a PNG picture in base64. */
  readonly screenshot: string | undefined;
}

export interface BootFailure {
  /** A word for programs: of a failure pattern ("kernel-panic"), or of a finding ("no-boot-code"). */
  readonly name: string;
  /** "loader", "stage 1" …; "image" for what is seen without booting; "checks" or "shutdown" behind the boot itself. */
  readonly stage: string;
  readonly cause: string;
  /** When what shows it was seen, in milliseconds since the machine was started: the last byte before a silence. */
  readonly seenAtMs?: number | undefined;
  readonly lastLines: readonly string[];
}

const CONSOLE_LINES = 400;

/** How long a machine may be silent whose image is known to be broken. SeaBIOS speaks at once; OVMF computes for up to 6 s
 *  under TCG before its first byte, and so does Linux now and then. */
const DOOMED_EARLY = { busyMs: 2500, idleMs: 2500 };
const DOOMED = { busyMs: 8000, idleMs: 4000 };
/** The same for a kernel that was not told of the serial console. */
const UNHEARD = { busyMs: 25_000, idleMs: 20_000 };

/** How long a guest that nobody is logged in to has to react to its power button. */
const POWER_BUTTON_MS = 15_000;

/** Looks at an image, boots it on a private overlay over a pty, logs in on the serial console, runs checks and shuts down.
 *  Waits before while as many machines run as the host has processors.
 *  @returns a report also when the guest is wrong: an image that does not boot is a result, not an exception.
 *  @throws what startMachine throws, when it is the harness or the host that fails. */
export async function verifyBoot(options: VerifyBootOptions, context: MachineContext = {}): Promise<BootReport> {
  const { login = { user: 'root' }, checks = [], timeoutMs, inspection: known, ...spec } = options;
  await using place: Place = await admit(context.signal);
  const inspection =
    spec.firmware === 'direct'
      ? undefined
      : (known ??
        (await inspectImage({ ...options, architecture: efiName(options.architecture) }, { signal: context.signal })));
  const findings = inspection === undefined ? [] : findingsFor(inspection, spec.firmware);
  const unheard = inspection?.serialConsole === false;
  const doomed = findings.find(({ severity }) => severity === 'fatal');
  const architecture = spec.architecture ?? architectureFor(spec.firmware, inspection);
  await using machine = await startMachine({ ...spec, architecture }, context);
  const reports: CheckReport[] = [];
  const warnings: string[] = [];
  const isEarly = spec.firmware === 'legacy' && doomed !== undefined && isBefore(doomed.stage, 'kernel');
  const hang = isEarly ? DOOMED_EARLY : doomed !== undefined ? DOOMED : unheard ? UNHEARD : undefined;
  const waiting = { ...(timeoutMs === undefined ? {} : { timeoutMs }), ...(hang === undefined ? {} : { hang }) };
  let failure: BootFailure | undefined;
  let cleanShutdown = false;
  let screenshot: string | undefined;
  let lines: readonly string[] = [];
  const look = async (): Promise<void> => {
    screenshot ??= (await machine.screenshot().catch(() => undefined))?.png.toString('base64');
    lines = await machine.console.lastLines(CONSOLE_LINES);
  };
  try {
    if (login === false) await machine.waitForLoginPrompt(waiting);
    else {
      await machine.login(login.user, login.password, waiting);
      await look();
      await runChecks(checks, machine, reports);
    }
    await look();
    failure = await checksFailure(reports, machine);
    cleanShutdown = await shutDown(machine, login !== false, timeoutMs, warnings);
    if (!cleanShutdown && login !== false) {
      const exit = await machine.exited;
      failure ??= {
        name: 'unclean-shutdown',
        stage: 'shutdown',
        cause: `the guest did not power off cleanly: ${exit.reason ?? `QEMU exited with status ${exit.exitCode}`}`,
        lastLines: (await machine.evidence()).lastLines,
      };
    }
  } catch (error) {
    await look();
    if (login === false && error instanceof BootFailedError && machine.screenStage === 'login')
      warnings.push(`${error.reason}; judged by the screen`);
    else failure ??= describeFailure(error, machine, { doomed, unheard });
  }
  failure = blame(failure, findings, machine);
  warnings.push(
    ...findings.filter(({ severity }) => severity === 'warning').map(({ message }) => message),
    ...machine.failures
      .filter(({ pattern }) => pattern.severity === 'warning')
      .map(({ pattern, line }) => `${pattern.cause}: ${line}`),
  );
  return {
    image: spec.image,
    firmware: spec.firmware,
    architecture,
    accelerator: machine.accelerator,
    ok: failure === undefined,
    timeline: [...machine.stages.seen],
    stageReached: machine.screenStage ?? machine.stages.reached,
    checks: reports,
    failure,
    warnings,
    cleanShutdown,
    durationMs: performance.now() - machine.startedAt,
    waitedMs: place.waitedMs,
    qemuVersion: await machine.qemuVersion(),
    qemuArgv: machine.qemu.argv,
    console: lines,
    screenshot,
  };
}

function efiName(architecture: Architecture | undefined): EfiArchitecture | undefined {
  return architecture === undefined ? undefined : ARCHITECTURES[architecture].efi;
}

/** The machine that the image has an EFI loader for; a legacy BIOS is x86's. */
export function architectureFor(
  firmware: MachineSpec['firmware'],
  inspection: ImageInspection | undefined,
): Architecture {
  return firmware === 'efi' && inspection !== undefined ? architectureOf(inspection.efi.architecture) : 'x86_64';
}

/** Also for firmware that the image is not made for, when somebody asks for it. */
function findingsFor({ findings, bios, efi }: ImageInspection, firmware: MachineSpec['firmware']): Finding[] {
  const ofFirmware = firmware === 'legacy' ? bios.findings : efi.findings;
  return [
    ...findings.filter((finding) => finding.firmware === undefined),
    ...ofFirmware.filter((finding) => finding.firmware !== undefined),
  ];
}

async function runChecks(checks: readonly BootCheck[], machine: Machine, reports: CheckReport[]): Promise<void> {
  for (const check of checks) {
    const startedAt = performance.now();
    const report = (ok: boolean, message: string | undefined): void => {
      reports.push({ name: check.name, ok, message, durationMs: performance.now() - startedAt });
    };
    try {
      report(true, await check.run(machine));
    } catch (error) {
      if (error instanceof AssertionFailedError) report(false, error.message);
      else if (error instanceof WaitTimeoutError) {
        report(false, error.shortMessage);
        // The shell still runs it: what comes behind cannot be asked.
        for (const { name } of checks.slice(reports.length))
          reports.push({ name, ok: false, message: 'not run: the check before it did not end', durationMs: 0 });
        return;
      } else throw error;
    }
  }
}

async function checksFailure(reports: readonly CheckReport[], machine: Machine): Promise<BootFailure | undefined> {
  const wrong = reports.filter(({ ok }) => !ok);
  if (wrong.length === 0) return undefined;
  return {
    name: 'check-failed',
    stage: 'checks',
    cause: wrong.map(({ name, message }) => `${name}: ${message}`).join('\n'),
    lastLines: (await machine.evidence()).lastLines,
  };
}

/** @returns whether the guest powered itself off. */
async function shutDown(
  machine: Machine,
  loggedIn: boolean,
  timeoutMs: number | undefined,
  warnings: string[],
): Promise<boolean> {
  try {
    const patience = loggedIn ? timeoutMs : POWER_BUTTON_MS;
    const exit = await machine.shutdown(patience === undefined ? {} : { timeoutMs: patience });
    return exit.reason === 'guest-shutdown';
  } catch (error) {
    if (loggedIn || !(error instanceof WaitTimeoutError)) throw error;
    warnings.push('the guest does not react to its power button, and was switched off');
    await machine.crash();
    return false;
  }
}

/** The guest's failure. What is not the guest's is thrown on. */
function describeFailure(
  error: unknown,
  machine: Machine,
  { doomed, unheard }: { readonly doomed: Finding | undefined; readonly unheard: boolean },
): BootFailure {
  const stage = machine.stages.reached ?? 'firmware';
  if (error instanceof BootFailedError && error.failure === 'hang' && unheard)
    return {
      ...{ name: 'no-serial-console', stage: error.stage, seenAtMs: error.seenAtMs },
      cause: `the kernel has no console=${ARCHITECTURES[machine.architecture].serialPort} in its parameters, and nobody serves a login there: ${error.reason}`,
      lastLines: error.evidence.lastLines,
    };
  if (error instanceof BootFailedError)
    return {
      ...{ name: error.failure, stage: error.stage, cause: error.reason, seenAtMs: error.seenAtMs },
      lastLines: error.evidence.lastLines,
    };
  if (error instanceof MachineExitedError && error.exit.reason !== undefined) {
    const cause =
      error.exit.reason === 'guest-shutdown'
        ? 'the machine powered itself off before the login'
        : `the machine ended: ${error.exit.reason}`;
    return { name: error.exit.reason, stage, cause, lastLines: error.evidence.lastLines };
  }
  // QEMU itself does not get on with it.
  if (error instanceof MachineExitedError && doomed?.name === 'container-damaged')
    return { name: doomed.name, stage, cause: error.shortMessage, lastLines: error.evidence.lastLines };
  if (error instanceof WaitTimeoutError) {
    const lastLines = error.evidence.lastLines;
    return { name: 'timeout', stage: machine.isLoggedIn ? 'shutdown' : stage, cause: error.shortMessage, lastLines };
  }
  throw error;
}

/** What is known of the image explains where a boot stops; and a boot that stops nowhere does not make it good. */
function blame(
  failure: BootFailure | undefined,
  findings: readonly Finding[],
  machine: Machine,
): BootFailure | undefined {
  if (failure !== undefined) {
    const failedAt = BOOT_STAGES.find((stage) => stage === failure.stage);
    if (failedAt === undefined) return failure;
    // What cannot work stops a boot there or before; what is only wrong, there or later.
    const reason =
      findings.find(({ severity, stage }) => severity === 'fatal' && !isBefore(stage, failedAt)) ??
      findings.find(({ severity, stage }) => severity === 'error' && !isBefore(failedAt, stage));
    if (reason === undefined) return failure;
    return {
      ...failure,
      name: reason.name,
      stage: reason.stage,
      cause: `${reason.message}; the boot: ${failure.cause}`,
    };
  }
  const wrong = findings.find(({ severity }) => severity !== 'warning');
  if (wrong !== undefined)
    return { name: wrong.name, stage: 'image', cause: `it boots here, but ${wrong.message}`, lastLines: [] };
  const seen = machine.failures.find(({ pattern }) => pattern.severity === 'error');
  if (seen === undefined) return undefined;
  const { name, stage = 'init', cause } = seen.pattern;
  return { name, stage, cause: `it boots, but ${cause}: ${seen.line}`, lastLines: [] };
}
