import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { z } from 'zod';
import { makePrivateDirectory } from '../../lib/host-files/private-output.ts';
import type { EfiArchitecture } from '../../lib/inspect/efi-boot.ts';
import type { Finding } from '../../lib/inspect/finding.ts';
import { type ImageInspection, inspectImage } from '../../lib/inspect/inspect-image.ts';
import { parseOptions } from '../../lib/run/parse-options.ts';
import { BootFailedError, MachineExitedError, WaitTimeoutError } from '../errors.ts';
import { admit, type Place } from '../machine/admission.ts';
import type { HangBudget } from '../machine/hang-watch.ts';
import type { Machine } from '../machine/machine.ts';
import {
  firmwareNamed,
  type MachineContext,
  type MachineOptions,
  type MachineSpec,
  type WaitOptions,
} from '../machine/machine-spec.ts';
import { machineRules, machineSpecSchema } from '../machine/machine-spec-schema.ts';
import { startMachine } from '../machine/start-machine.ts';
import { setUpUefi } from '../machine/uefi-setup.ts';
import { PASSPHRASE_TYPED } from '../machine/wait.ts';
import { ARCHITECTURES, type Architecture, architectureOf } from '../qemu/architecture.ts';
import { type FailureSeen, isHarmless } from '../verdict/failures.ts';
import { isBefore } from '../verdict/stages.ts';
import {
  blame,
  type Cause,
  causeOf,
  concernsRoot,
  describeForeign,
  describeWarning,
  errorCause,
  findingCause,
  type RootDevices,
  timeoutCause,
} from '../verdict/verdict.ts';
import {
  type BootFailure,
  type BootReport,
  type CheckReport,
  CONSOLE_LINES,
  type IgnoredFailure,
} from './boot-report.ts';
import type { BootCheck } from './checks.ts';
import { explainEncryption } from './encryption.ts';
import { lookInside, notOfKernel } from './inside.ts';
import { checksCause, runChecks } from './run-checks.ts';
import { lookAtSecureBoot } from './secure-boot.ts';
import { shutDown } from './shut-down.ts';
import { type SystemdTimes, systemdTimes } from './systemd-times.ts';

export interface VerifyBootOptions extends MachineOptions {
  /** The user who logs in on the serial console; default: root without a password. `false`: a login prompt on the serial console or
   *  on the screen is enough, and no checks run. */
  readonly login?: { readonly user: string; readonly password?: string | undefined } | false | undefined;
  /** Assertions about the booted system. */
  readonly checks?: readonly BootCheck[] | undefined;
  /** Milliseconds until the login prompt must appear; default: as long as the boot makes progress. */
  readonly timeoutMs?: number | undefined;
  /** Names of failures and findings that do not make the verdict bad; the report lists those that occurred. */
  readonly ignore?: readonly string[] | undefined;
  /** The result of inspectImage; default: verifyBoot calls it. */
  readonly inspection?: ImageInspection | undefined;
}

const optionsSchema = machineSpecSchema.extend({
  login: z
    .union([z.literal(false), z.strictObject({ user: z.string().min(1), password: z.string().optional() })])
    .optional(),
  checks: z
    .array(
      z.custom<BootCheck>((check) => typeof (check as BootCheck | undefined)?.run === 'function', 'must be a check'),
    )
    .optional(),
  timeoutMs: z.number().positive().optional(),
  ignore: z.array(z.string().min(1)).optional(),
  inspection: z.custom<ImageInspection>((value) => typeof value === 'object' && value !== null).optional(),
});

/** How long a machine may be silent if its image is known to be broken. SeaBIOS prints at once; under TCG, OVMF needs up to 6 s for
 *  its first byte, and Linux sometimes is silent as long. */
const DOOMED_EARLY: HangBudget = { busyMs: 2500, idleMs: 2500 };
const DOOMED: HangBudget = { busyMs: 12_000, idleMs: 8000 };
/** The same for a kernel without a serial console in its parameters. */
const UNHEARD: HangBudget = { busyMs: 25_000, idleMs: 20_000 };

/** Inspects an image, boots it on a private overlay, logs in on the serial console, checks where the login shell runs, runs the
 *  checks and shuts the guest down. Waits first if the host already runs as many machines as it has processors.
 *  @returns a report, also for an image that does not boot.
 *  @throws {InvalidOptionsError}, and the errors of startMachine if the harness or the host fails. */
export async function verifyBoot(given: VerifyBootOptions, context: MachineContext = {}): Promise<BootReport> {
  const options = { ...given, firmware: firmwareNamed(given.firmware) };
  parseOptions('verifyBoot', optionsSchema, withoutUndefined(options), [
    (found) => machineRules(found as Partial<MachineSpec>),
  ]);
  const { login = { user: 'root' }, checks = [], timeoutMs, inspection: known, ignore = [], ...spec } = options;
  await using place: Place = await admit(context.signal, {
    label: `${basename(spec.image)}, ${spec.firmware}`,
    timeoutMs,
    onWait: context.onWait,
  });
  await using keys = await secureBootStore(spec, spec.architecture);
  const inspection =
    spec.firmware === 'direct'
      ? undefined
      : ((keys.file === undefined ? known : undefined) ??
        (await inspectImage(
          {
            ...{ image: spec.image, format: spec.format, architecture: efiName(options.architecture) },
            efiVariables: keys.file,
          },
          { signal: context.signal },
        )));
  const tolerance = new Tolerance(ignore);
  const findings = inspection === undefined ? [] : tolerance.findings(findingsFor(inspection, spec.firmware));
  const architecture = spec.architecture ?? architectureFor(spec.firmware, inspection);
  await using machine = await startMachine(
    { ...spec, architecture, sectorBytes: spec.sectorBytes ?? inspection?.sectorBytes },
    context,
  );
  const boot = new Boot(machine, inspection, findings, tolerance);
  // The time limit includes the wait for a place.
  const remainingMs = timeoutMs === undefined ? undefined : Math.max(1, timeoutMs - place.waitedMs);
  await boot.run({ login, checks, timeoutMs: remainingMs, isDirect: spec.firmware === 'direct' });
  const result = boot.result();
  const typed = result.typed.some(({ why }) => why === PASSPHRASE_TYPED);
  const failure = result.failure && (await explainEncryption(result.failure, inspection, spec, typed, context.signal));
  return {
    image: spec.image,
    firmware: spec.firmware,
    architecture,
    ...result,
    failure,
    waitedMs: place.waitedMs,
    qemuVersion: await machine.qemuVersion(),
    qemuArgv: machine.qemu.argv,
  };
}

type BootResult = Omit<BootReport, 'image' | 'firmware' | 'architecture' | 'waitedMs' | 'qemuVersion' | 'qemuArgv'>;

interface BootTask {
  readonly login: { readonly user: string; readonly password?: string | undefined } | false;
  readonly checks: readonly BootCheck[];
  readonly timeoutMs: number | undefined;
  readonly isDirect: boolean;
}

/** One boot and its result. */
class Boot {
  readonly #machine: Machine;
  readonly #inspection: ImageInspection | undefined;
  readonly #findings: readonly Finding[];
  readonly #tolerance: Tolerance;
  readonly #checks: CheckReport[] = [];
  readonly #warnings: string[] = [];
  #failure: BootFailure | undefined;
  #root: RootDevices | undefined;
  /** Failures that look like kernel messages but that a program printed. */
  #foreign: ReadonlySet<FailureSeen> = new Set();
  #cleanShutdown = false;
  /** Whether the shell runs outside the image's own system: checks mean nothing there, and it cannot power the guest off. */
  #isElsewhere = false;
  #systemdTimes: SystemdTimes | undefined;
  #screenshot: string | undefined;
  #lines: readonly string[] = [];

  constructor(
    machine: Machine,
    inspection: ImageInspection | undefined,
    findings: readonly Finding[],
    tolerance: Tolerance,
  ) {
    this.#machine = machine;
    this.#inspection = inspection;
    this.#findings = findings;
    this.#tolerance = tolerance;
  }

  async run({ login, checks, timeoutMs, isDirect }: BootTask): Promise<void> {
    const machine = this.#machine;
    try {
      const waiting = this.#waiting(timeoutMs);
      if (login !== false) await machine.login(login.user, login.password, waiting);
      // The prompt of an open shell does not say where the shell runs.
      else if ((await machine.waitForLoginPrompt(waiting)) === 'shell') await machine.login('root', undefined, waiting);
      await this.#look();
      if (machine.isLoggedIn) await this.#lookInside(isDirect);
      if (machine.secureBoot && !this.#isElsewhere) {
        const { cause, warnings } = await lookAtSecureBoot(machine);
        this.#note(cause);
        this.#warnings.push(...warnings);
      }
      if (login !== false && !this.#isElsewhere) {
        await runChecks(checks, machine, this.#checks);
        this.#note(checksCause(this.#checks));
      }
      if (machine.isLoggedIn && !this.#isElsewhere) {
        this.#foreign = await notOfKernel(machine, machine.failures);
        this.#systemdTimes = await systemdTimes(machine);
      }
      await this.#look();
      const { clean, cause, warning } = await shutDown(machine, timeoutMs, { atOnce: this.#isElsewhere });
      this.#cleanShutdown = clean;
      if (warning !== undefined) this.#warnings.push(warning);
      this.#note(cause);
    } catch (error) {
      await this.#look();
      if (login === false && error instanceof BootFailedError && machine.screenStage === 'login')
        this.#warnings.push(`${error.reason}; the verdict is based on the screen`);
      else await this.#fail(error);
    }
    this.#judge();
    if (this.#failure !== undefined && this.#failure.lastLines.length === 0 && this.#failure.stage !== 'image')
      this.#failure = { ...this.#failure, lastLines: (await machine.evidence()).lastLines };
  }

  result(): BootResult {
    const machine = this.#machine;
    return {
      accelerator: machine.accelerator,
      ok: this.#failure === undefined,
      timeline: [...machine.stages.seen],
      stageReached: machine.screenStage ?? machine.stages.reached,
      kernelTimes: machine.kernelTimes,
      systemdTimes: this.#systemdTimes,
      checks: this.#checks,
      failure: this.#failure,
      ignored: this.#tolerance.ignored,
      warnings: [...new Set(this.#warnings)],
      typed: [...machine.typed],
      reboots: machine.reboots,
      cleanShutdown: this.#cleanShutdown,
      durationMs: performance.now() - machine.startedAt,
      console: this.#lines,
      logFile: machine.logFile,
      screenshot: this.#screenshot,
    };
  }

  /** Returns the wait options for this image: how long it may be silent. */
  #waiting(timeoutMs: number | undefined): WaitOptions {
    const doomed = this.#findings.find(({ severity }) => severity === 'fatal');
    const isEarly = this.#inspection?.table !== undefined && doomed !== undefined && isBefore(doomed.stage, 'kernel');
    const serialConsole = this.#inspection?.serialConsole;
    const hang =
      doomed !== undefined
        ? isEarly && doomed.firmware !== 'efi' && !isEfi(this.#machine)
          ? DOOMED_EARLY
          : DOOMED
        : serialConsole === false
          ? UNHEARD
          : undefined;
    return {
      serialConsole,
      doomed: doomed !== undefined,
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
      ...(hang === undefined ? {} : { hang }),
    };
  }

  async #look(): Promise<void> {
    this.#screenshot ??= (await this.#machine.screenshot().catch(() => undefined))?.png.toString('base64');
    this.#lines = await this.#machine.console.lastLines(CONSOLE_LINES);
  }

  async #lookInside(isDirect: boolean): Promise<void> {
    const inside = await lookInside(this.#machine, isDirect);
    this.#root = inside.root;
    this.#warnings.push(...inside.warnings);
    this.#note(inside.cause);
    this.#isElsewhere = inside.cause?.stage === 'stage 1' && this.#failure !== undefined;
  }

  #note(cause: Cause | undefined): void {
    if (cause !== undefined && !this.#tolerance.covers(cause)) this.#failure ??= { ...cause, lastLines: [] };
  }

  /** Records an error as the guest's failure. Rethrows an error of the harness or the host. */
  async #fail(error: unknown): Promise<void> {
    const machine = this.#machine;
    const stage = machine.stages.reached ?? 'firmware';
    if (error instanceof BootFailedError) {
      const { failure: name, seenAtMs, evidence, reason, line } = error;
      this.#failure ??= { name, stage: error.stage, cause: reason, seenAtMs, line, lastLines: evidence.lastLines };
      return;
    }
    if (error instanceof MachineExitedError) {
      const { reason } = error.exit;
      // QEMU exits on a damaged container format.
      const container = this.#findings.find(({ code }) => code === 'container-damaged');
      if (reason === undefined && container === undefined) throw error;
      const cause =
        reason === undefined
          ? { name: 'container-damaged', stage, cause: error.shortMessage }
          : causeOf(
              { how: 'exit', reason, restartedItself: false },
              { ...NOTHING_SEEN, stage: machine.stages.reached },
            );
      this.#failure ??= { ...cause, lastLines: error.evidence.lastLines };
      return;
    }
    if (error instanceof WaitTimeoutError) {
      const where = machine.isLoggedIn ? 'shutdown' : stage;
      this.#failure ??= {
        ...timeoutCause(where, error.waitedFor, error.timeoutMs),
        lastLines: error.evidence.lastLines,
      };
      return;
    }
    throw error;
  }

  /** Combines the findings about the image with what the boot showed. */
  #judge(): void {
    const machine = this.#machine;
    if (this.#failure !== undefined) this.#failure = blame(this.#failure, this.#findings);
    else {
      const wrong = this.#findings.find(({ severity }) => severity !== 'warning');
      if (wrong !== undefined) this.#note(findingCause(wrong));
      for (const seen of machine.failures)
        if (seen.pattern.severity === 'error' && !this.#foreign.has(seen) && concernsRoot(seen, this.#root))
          this.#note(errorCause(seen));
    }
    for (const seen of machine.failures) {
      if (seen.pattern.name === this.#failure?.name) continue;
      if (isHarmless(seen, machine.screenStage ?? machine.stages.reached)) continue;
      const { severity, quiet } = seen.pattern;
      const isOver = severity === 'fatal' && !machine.unsettled.includes(seen);
      if (this.#foreign.has(seen)) {
        this.#warnings.push(describeForeign(seen));
        continue;
      }
      const isElsewhere = severity === 'error' && !concernsRoot(seen, this.#root);
      if ((severity === 'warning' && quiet !== true) || isElsewhere || (isOver && this.#failure === undefined))
        this.#warnings.push(describeWarning(seen));
    }
    this.#warnings.push(
      ...this.#findings.filter(({ severity }) => severity === 'warning').map(({ message }) => message),
    );
  }
}

const NOTHING_SEEN = {
  ...{ screenStage: undefined, failures: [], repeated: undefined, job: undefined, unconfirmedPrompt: undefined },
  ...{ serialPort: '', serialConsole: undefined, recent: '', lastByteMs: 0 },
};

/** The failures and findings that the caller tolerates. */
class Tolerance {
  readonly ignored: IgnoredFailure[] = [];
  readonly #codes: ReadonlySet<string>;

  constructor(codes: readonly string[]) {
    this.#codes = new Set(codes);
  }

  /** Filters out the tolerated findings. */
  findings(all: readonly Finding[]): Finding[] {
    return all.filter(({ code, message, severity }) => severity === 'warning' || !this.#covers(code, message));
  }

  covers({ name, cause }: Cause): boolean {
    return this.#covers(name, cause);
  }

  #covers(code: string, message: string): boolean {
    if (!this.#codes.has(code)) return false;
    if (!this.ignored.some((one) => one.code === code && one.message === message)) this.ignored.push({ code, message });
    return true;
  }
}

function isEfi(machine: Machine): boolean {
  return machine.qemu.argv.some((argument) => argument.startsWith('pflash0='));
}

function efiName(architecture: Architecture | undefined): EfiArchitecture | undefined {
  return architecture === undefined ? undefined : ARCHITECTURES[architecture].efi;
}

/** Chooses the architecture of the image's EFI loader; a BIOS machine is always x86-64. */
export function architectureFor(
  firmware: MachineSpec['firmware'],
  inspection: ImageInspection | undefined,
): Architecture {
  return firmware === 'efi' && inspection !== undefined ? architectureOf(inspection.efi.architecture) : 'x86_64';
}

/** The findings for one firmware, even if the image is not made for it. */
function findingsFor({ findings, bios, efi }: ImageInspection, firmware: MachineSpec['firmware']): Finding[] {
  const ofFirmware = firmware === 'bios' ? bios.findings : efi.findings;
  return [
    ...findings.filter((finding) => finding.firmware === undefined),
    ...ofFirmware.filter((finding) => finding.firmware !== undefined),
  ];
}

/** The Secure Boot keys that the machine's firmware has, for the look at the image. */
async function secureBootStore(
  spec: Pick<MachineSpec, 'firmware' | 'secureBoot' | 'efiVariables'>,
  architecture: Architecture = 'x86_64',
): Promise<{ readonly file: string | undefined } & AsyncDisposable> {
  const none = { file: undefined, [Symbol.asyncDispose]: async () => {} };
  if (spec.firmware !== 'efi' || spec.secureBoot === 'setup-mode') return none;
  const { secureBoot, writeVariables } = await setUpUefi('verifyBoot', spec, architecture);
  if (!secureBoot) return none;
  const directory = await makePrivateDirectory(tmpdir());
  const file = join(directory.path, 'efi-vars.fd');
  await writeVariables(file);
  return { file, [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose]() };
}

/** Removes options whose value is undefined. */
function withoutUndefined(options: object): Record<string, unknown> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}
