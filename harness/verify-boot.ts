import type { BootCheck } from './checks.ts';
import type { BootStage, StageSeen } from './console/stages.ts';
import { AssertionFailedError, BootFailedError, MachineExitedError, WaitTimeoutError } from './errors.ts';
import { type Machine, type MachineContext, type MachineSpec, startMachine } from './machine.ts';

export interface VerifyBootOptions extends MachineSpec {
  /** Who logs in on the serial console; default root without a password. `false`: a login prompt is enough, and no
   *  checks are run. */
  readonly login?: { readonly user: string; readonly password?: string | undefined } | false | undefined;
  /** What must be true inside. */
  readonly checks?: readonly BootCheck[] | undefined;
  /** Milliseconds until the login prompt must be there; default 60 s under KVM, 300 s under TCG. */
  readonly timeoutMs?: number | undefined;
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
  readonly accelerator: 'kvm' | 'tcg';
  /** Everything held: it booted, all checks passed, and it shut down cleanly. */
  readonly ok: boolean;
  /** When each stage was first seen, in milliseconds since QEMU was started. */
  readonly timeline: readonly StageSeen[];
  readonly stageReached: BootStage | undefined;
  readonly checks: readonly CheckReport[];
  readonly failure: BootFailure | undefined;
  /** Whether the guest powered off when it was told to. */
  readonly cleanShutdown: boolean;
  readonly durationMs: number;
  readonly qemuArgv: readonly string[];
}

export interface BootFailure {
  /** "loader", "stage 1" …; "checks" or "shutdown" behind the boot itself. */
  readonly stage: string;
  readonly cause: string;
  readonly lastLines: readonly string[];
}

/** Boots an image on a private overlay over a pty, logs in on the serial console, runs checks and shuts down.
 *  @returns a report also when the guest is wrong: an image that does not boot is a result, not an exception.
 *  @throws what startMachine throws, when it is the harness or the host that fails. */
export async function verifyBoot(options: VerifyBootOptions, context: MachineContext = {}): Promise<BootReport> {
  const { login = { user: 'root' }, checks = [], timeoutMs, ...spec } = options;
  await using machine = await startMachine(spec, context);
  const reports: CheckReport[] = [];
  let failure: BootFailure | undefined;
  let cleanShutdown = false;
  try {
    if (login === false) await machine.waitForLoginPrompt({ timeoutMs });
    else {
      await machine.login(login.user, login.password, { timeoutMs });
      for (const check of checks) reports.push(await runCheck(check, machine));
    }
    failure = await checksFailure(reports, machine);
    const exit = await machine.shutdown({ timeoutMs });
    cleanShutdown = exit.reason === 'guest-shutdown';
    if (!cleanShutdown)
      failure ??= {
        stage: 'shutdown',
        cause: `the guest did not power off cleanly: ${exit.reason ?? `QEMU exited with status ${exit.exitCode}`}`,
        lastLines: await lastLines(machine),
      };
  } catch (error) {
    failure ??= await describeFailure(error, machine);
  }
  return {
    image: spec.image,
    firmware: spec.firmware,
    accelerator: machine.accelerator,
    ok: failure === undefined,
    timeline: [...machine.stages.seen],
    stageReached: machine.stages.reached,
    checks: reports,
    failure,
    cleanShutdown,
    durationMs: performance.now() - machine.startedAt,
    qemuArgv: machine.qemu.argv,
  };
}

async function runCheck(check: BootCheck, machine: Machine): Promise<CheckReport> {
  const startedAt = performance.now();
  try {
    const message = await check.run(machine);
    return { name: check.name, ok: true, message, durationMs: performance.now() - startedAt };
  } catch (error) {
    if (!(error instanceof AssertionFailedError)) throw error;
    return { name: check.name, ok: false, message: error.message, durationMs: performance.now() - startedAt };
  }
}

async function checksFailure(reports: readonly CheckReport[], machine: Machine): Promise<BootFailure | undefined> {
  const wrong = reports.filter(({ ok }) => !ok);
  if (wrong.length === 0) return undefined;
  return {
    stage: 'checks',
    cause: wrong.map(({ name, message }) => `${name}: ${message}`).join('\n'),
    lastLines: await lastLines(machine),
  };
}

/** The guest's failure. What is not the guest's is thrown on. */
async function describeFailure(error: unknown, machine: Machine): Promise<BootFailure> {
  const stage = machine.stages.reached ?? 'firmware';
  if (error instanceof BootFailedError)
    return { stage: error.stage, cause: error.reason, lastLines: error.evidence.lastLines };
  if (error instanceof MachineExitedError && error.exit.reason !== undefined)
    return { stage, cause: exitCause(error.exit.reason), lastLines: error.evidence.lastLines };
  if (error instanceof WaitTimeoutError)
    return { stage, cause: error.shortMessage, lastLines: error.evidence.lastLines };
  throw error;
}

function exitCause(reason: string): string {
  if (reason === 'guest-reset') return 'the machine reset itself: a triple fault, or a kernel that panicked silently';
  if (reason === 'guest-shutdown') return 'the machine powered itself off before the login';
  return `the machine ended: ${reason}`;
}

async function lastLines(machine: Machine): Promise<readonly string[]> {
  return (await machine.evidence()).lastLines;
}
