import type { Finding } from '../../lib/inspect/finding.ts';
import { formatDuration } from '../../lib/units.ts';
import { type FailureSeen, reasonFor } from './failures.ts';
import type { WaitingJob } from './news.ts';
import { loaderMenuIn, type Question } from './questions.ts';
import { BOOT_STAGES, type BootStage, isBefore } from './stages.ts';

/** Why a boot failed. The sentences of all causes are written in this file and in the two tables, failures and questions. */
export interface Cause {
  /** An identifier for programs: the name of a failure pattern, a question or a finding, or one of those in this file. */
  readonly name: string;
  /** A stage of the boot, "image" for what is found without booting, or "checks" or "shutdown" after the boot. */
  readonly stage: string;
  readonly cause: string;
  /** When the evidence was seen, in milliseconds since the start of the machine: for a silence, when the last byte came. */
  readonly seenAtMs?: number | undefined;
  /** The line of the console that decided it, where there is one. */
  readonly line?: string | undefined;
}

/** How the wait for a boot failed. */
export type BootEnd =
  | { readonly how: 'fatal'; readonly fatal: FailureSeen }
  | { readonly how: 'standstill'; readonly standstill: 'loop' | 'idle' | 'repeats' | 'silent' }
  | { readonly how: 'question'; readonly question: Question; readonly line: string; readonly answered: boolean }
  | { readonly how: 'flood' }
  /** A login prompt on the screen but none on the console. */
  | { readonly how: 'screen' }
  | { readonly how: 'exit'; readonly reason: string | undefined; readonly restartedItself: boolean };

/** The state of a machine when its boot failed. */
export interface BootFacts {
  /** The stage that the boot reached, from the console, the screen or the processor. */
  readonly stage: BootStage | undefined;
  /** The stage that the boot reached if only the screen or the processor shows it. */
  readonly screenStage: BootStage | undefined;
  readonly failures: readonly FailureSeen[];
  /** The line that the console repeats, and the job that systemd waits for. */
  readonly repeated: string | undefined;
  readonly job: WaitingJob | undefined;
  /** A line that looks like a login prompt but could not be confirmed. */
  readonly unconfirmedPrompt: string | undefined;
  readonly serialPort: string;
  /** Whether the image's loader entries name a serial console; undefined if that is not known. */
  readonly serialConsole: boolean | undefined;
  /** The end of the console's output. */
  readonly recent: string;
  /** Milliseconds from the start of the machine to its last byte. */
  readonly lastByteMs: number;
}

/** Returns a failure's most useful line: GRUB's error, for example, not the "Press any key" that follows it. */
const lineOf = ({ pattern, line }: FailureSeen, failures: readonly FailureSeen[]): string => {
  const reason = reasonFor(pattern.name, failures);
  return reason?.pattern.quiet === true ? reason.line : line;
};

/** The meaning of a failure, and that line. */
const describe = (seen: FailureSeen, failures: readonly FailureSeen[]): string =>
  `${seen.pattern.cause}: ${lineOf(seen, failures)}`;

const because = (name: string, failures: readonly FailureSeen[]): string => {
  const reason = reasonFor(name, failures);
  return reason === undefined ? '' : `${reason.pattern.cause}: ${reason.line}; `;
};

/** Finds the cause of a failed boot: the first reason that was seen, not its last consequence. */
export function causeOf(end: BootEnd, facts: BootFacts): Cause {
  const stage = facts.stage ?? 'firmware';
  const seenAtMs = facts.lastByteMs;
  const { failures } = facts;
  switch (end.how) {
    case 'fatal':
      return causeOfFailure(end.fatal, facts);
    case 'question': {
      const { name, cause } = end.question;
      if (facts.unconfirmedPrompt !== undefined && /^asks-(?:a-question|for-password)$/.test(name))
        return unconfirmed(facts, facts.unconfirmedPrompt);
      const refused = end.answered ? '; it was answered but asks again' : '';
      return { name, stage, seenAtMs, line: end.line, cause: `${cause}: ${end.line.trim()}${refused}` };
    }
    case 'screen':
      return noSerialConsole(facts, 'the screen shows a login prompt but the serial console does not');
    case 'flood':
      return {
        ...{ name: 'console-flood', stage, seenAtMs },
        cause: 'the guest floods the console with output and shows no login prompt',
      };
    case 'standstill': {
      if (facts.screenStage !== undefined && !isBefore(facts.screenStage, 'kernel') && facts.serialConsole !== true)
        return noSerialConsole(
          facts,
          `the screen or the processor shows that the boot reached "${facts.screenStage}" but the serial console does not`,
        );
      if (facts.unconfirmedPrompt !== undefined) return unconfirmed(facts, facts.unconfirmedPrompt);
      const menu = isBefore(facts.stage, 'kernel') ? loaderMenuIn(facts.recent) : undefined;
      if (menu !== undefined)
        return {
          ...{ name: 'loader-menu', stage: 'loader', seenAtMs },
          cause: `${because('loader-menu', failures)}the boot loader waits in its menu and does not boot an entry by itself: ${menu}`,
        };
      if (facts.job !== undefined)
        return {
          ...{ name: 'waits-for-job', stage, seenAtMs },
          cause: `${because('waits-for-job', failures)}systemd waits for ${facts.job.unit}${facts.job.limitMs === undefined ? ' without a time limit' : ''}`,
        };
      if (end.standstill === 'repeats' && facts.repeated !== undefined)
        return {
          ...{ name: 'repeats-itself', stage, seenAtMs, line: facts.repeated },
          cause: `${because('repeats-itself', failures)}the console repeats the same output: ${facts.repeated}`,
        };
      const how = {
        loop: 'the machine hangs in a loop: its CPU is busy and the console shows nothing new',
        silent: 'the machine hangs: its CPU has been busy for minutes and the console shows nothing new',
        idle: 'the machine hangs: its CPU is idle and the console shows nothing new',
        repeats: 'the machine hangs: the console shows nothing new',
      }[end.standstill];
      const reason = reasonFor('hang', failures);
      return {
        name: 'hang',
        stage: reason?.pattern.stage ?? stage,
        seenAtMs,
        line: reason?.line,
        cause: `${because('hang', failures)}${how}`,
      };
    }
    case 'exit': {
      if (end.reason === 'guest-reset') {
        const own = end.restartedItself
          ? 'the guest rebooted before the login'
          : 'the machine reset without a message: a triple fault, or a kernel that cannot run on it';
        return { name: 'machine-reset', stage, seenAtMs, cause: `${because('machine-reset', failures)}${own}` };
      }
      if (end.reason === 'guest-panic')
        return { name: 'kernel-panic', stage: 'kernel', seenAtMs, cause: 'the kernel panicked' };
      const cause =
        end.reason === 'guest-shutdown' ? 'the guest powered off before the login' : `the machine ended: ${end.reason}`;
      return { name: end.reason ?? 'machine-ended', stage, seenAtMs, cause };
    }
  }
}

function unconfirmed({ stage, lastByteMs }: BootFacts, prompt: string): Cause {
  return {
    ...{ name: 'login-prompt-unconfirmed', stage: stage ?? 'firmware', seenAtMs: lastByteMs, line: prompt },
    cause: `a line looks like a login prompt but is not confirmed: it did not reappear after Enter, or the system's init did not start: ${prompt}`,
  };
}

function causeOfFailure(fatal: FailureSeen, { stage = 'firmware', failures }: BootFacts): Cause {
  const { pattern, atMs } = fatal;
  const where = fatal.on === 'screen' ? ' (on the screen, not on the serial console)' : '';
  const reason = reasonFor(pattern.name, failures);
  const own = `${describe(fatal, failures)}${where}`;
  const line = lineOf(reason ?? fatal, failures);
  // A quiet failure only adds its line to the other one.
  if (reason === undefined || reason.pattern.quiet === true)
    return { name: pattern.name, stage: pattern.stage ?? stage, cause: own, seenAtMs: atMs, line };
  return {
    ...{ name: reason.pattern.name, stage: reason.pattern.stage ?? stage, seenAtMs: atMs, line },
    cause: `${describe(reason, failures)}; then ${own}`,
  };
}

function noSerialConsole({ stage, serialPort, lastByteMs }: BootFacts, seen: string): Cause {
  return {
    ...{ name: 'no-serial-console', stage: stage ?? 'firmware', seenAtMs: lastByteMs },
    cause: `${seen}: the kernel parameters have no console=${serialPort}, or no getty runs on that port`,
  };
}

/** Describes a login that did not lead to a shell. */
export function loginCause(
  how: 'asks-for-password' | 'refused' | 'asks-again' | 'no-shell',
  user: string,
  line: string,
): Pick<Cause, 'name' | 'cause' | 'line'> {
  const shown = line.trim() === '' ? '' : `: ${line.trim()}`;
  const decisive = shown === '' ? undefined : line;
  switch (how) {
    case 'asks-for-password':
      return { name: 'login-refused', cause: `the login as ${user} asks for a password${shown}`, line: decisive };
    case 'refused':
      return { name: 'login-refused', cause: `the login as ${user} was refused${shown}`, line: decisive };
    case 'asks-again':
      return {
        name: 'login-refused',
        cause: `the login asks for a user name again after each attempt as ${user}${shown}`,
        line: decisive,
      };
    case 'no-shell':
      return {
        name: 'no-shell',
        cause: `the login as ${user} leads to no shell that runs commands${shown}`,
        line: decisive,
      };
  }
}

/** Describes a shell that does not run in the image's own system. */
export function insideCause(
  how: 'in-initrd' | 'foreign-root' | 'foreign-init',
  found: string,
  failures: readonly FailureSeen[],
): Pick<Cause, 'name' | 'cause'> {
  const own = {
    'in-initrd': "the login leads to a shell in the initrd, not in the image's system",
    'foreign-root': 'the root filesystem of the login shell is not on this disk',
    'foreign-init': "process 1 is not the init of the image's system",
  }[how];
  return { name: how, cause: `${because(how, failures)}${own}: ${found}` };
}

/** Why Secure Boot protects nothing in a machine whose firmware is to enforce it. */
export function secureBootCause(how: 'secure-boot-setup-mode' | 'secure-boot-off', found: string): Cause {
  const own = {
    'secure-boot-setup-mode': 'the firmware is still in setup mode: it has no platform key, and starts any program',
    'secure-boot-off': 'Secure Boot is off',
  }[how];
  return { name: how, stage: 'init', cause: `it boots, but ${own}${found}` };
}

/** Why an encrypted root was not opened. */
export function encryptionCause(
  how:
    | 'luks-passphrase-refused'
    | 'luks-not-opened'
    | 'luks-device-missing'
    | 'luks-header-damaged'
    | 'tpm-not-unlocked',
  partition: number,
  found: string,
): Pick<Cause, 'name' | 'cause'> {
  const own = {
    'luks-passphrase-refused': `the passphrase opens no key slot of the LUKS header of partition ${partition}: it is another one, or the key slots are damaged`,
    'luks-not-opened': `the initrd cannot open the LUKS header of partition ${partition}, which this host can`,
    'tpm-not-unlocked': `partition ${partition} is bound to a TPM, which did not unlock it`,
    'luks-header-damaged': `the initrd does not find the LUKS header of partition ${partition}, whose first copy is damaged`,
    'luks-device-missing': `the initrd does not find the LUKS header of partition ${partition}`,
  }[how];
  return { name: how, cause: `${own}${found}` };
}

/** Describes a problem with the root filesystem of a system that booted. */
export function rootCause(how: 'root-full' | 'read-only-root', found: string, failures: readonly FailureSeen[]): Cause {
  const own = {
    'root-full': 'the root filesystem is full',
    'read-only-root': 'the root filesystem is read-only and should be writable',
  }[how];
  return { name: how, stage: 'init', cause: `the image boots, but ${because(how, failures)}${own}: ${found}` };
}

/** Describes an error that did not end the boot. */
export function errorCause({ pattern, line, atMs, reached }: FailureSeen): Cause {
  return {
    ...{ name: pattern.name, stage: pattern.stage ?? reached ?? 'init', seenAtMs: atMs, line },
    cause: `the image boots, but ${pattern.cause}: ${line}`,
  };
}

/** Describes failed checks. */
export function checkCause(wrong: readonly { readonly name: string; readonly message: string | undefined }[]): Cause {
  return {
    ...{ name: 'check-failed', stage: 'checks' },
    cause: wrong.map(({ name, message }) => `${name}: ${message}`).join('\n'),
  };
}

export function shutdownCause(found: string): Cause {
  return { name: 'unclean-shutdown', stage: 'shutdown', cause: `the guest did not power off cleanly: ${found}` };
}

/** Describes a failure that kept the guest from powering off. */
export function shutdownFailure({
  failure: name,
  reason,
  seenAtMs,
}: {
  readonly failure: string;
  readonly reason: string;
  readonly seenAtMs: number | undefined;
}): Cause {
  return { name, stage: 'shutdown', seenAtMs, cause: `the guest did not power off: ${reason}` };
}

/** Describes a wait that reached its time limit. */
export function timeoutCause(stage: string, waitedFor: string, timeoutMs: number): Cause {
  return {
    name: 'timeout',
    stage,
    cause: `timed out after ${formatDuration(timeoutMs)} while waiting for ${waitedFor}`,
  };
}

/** Describes a failure that did not end the boot, as a warning. */
export function describeWarning({ pattern, line }: FailureSeen): string {
  return pattern.severity === 'fatal' ? `the boot continued after: ${line}` : `${pattern.cause}: ${line}`;
}

/** A warning for a line that looks like a kernel message and that a program printed. */
export function describeForeign({ line }: FailureSeen): string {
  return `printed by a program, not by the kernel, whose log does not contain it: ${line}`;
}

/** Replaces a boot's cause with the finding of the image inspection that explains it, if there is one. */
export function blame<C extends Cause>(cause: C, findings: readonly Finding[]): C {
  const failedAt = BOOT_STAGES.find((stage) => stage === cause.stage);
  if (failedAt === undefined) return cause;
  // A fatal finding stops the boot at its stage or before; an error, at its stage or later.
  const reason =
    findings.find(({ severity, stage }) => severity === 'fatal' && !isBefore(stage, failedAt)) ??
    findings.find(({ severity, stage }) => severity === 'error' && !isBefore(failedAt, stage));
  if (reason === undefined) return cause;
  return {
    ...cause,
    name: reason.code,
    stage: reason.stage,
    cause: `${reason.message}; seen during the boot: ${cause.cause}`,
  };
}

/** Describes a finding in an image that boots in spite of it. */
export function findingCause({ code, message }: Finding): Cause {
  return { name: code, stage: 'image', cause: `the image boots here, but ${message}` };
}

/** The devices of the root filesystem; empty if they are not known. */
export interface RootDevices {
  /** The kernel's names, with those of the underlying devices: "dm-0", "vda2". */
  readonly devices: readonly string[];
}

/** Returns whether a failure may concern the root filesystem. It does if it names no device, or while the root devices are unknown. */
export function concernsRoot({ device }: FailureSeen, root: RootDevices | undefined): boolean {
  if (device === undefined || root === undefined || root.devices.length === 0) return !cannotHoldRoot(device);
  return root.devices.some((one) => one === device || one.startsWith(device));
}

/** Returns whether the device cannot hold the root of a disk image, such as a floppy, optical or loop device. */
function cannotHoldRoot(device: string | undefined): boolean {
  return device !== undefined && /^(?:fd|sr|loop|zram|ram)\d/.test(device);
}
