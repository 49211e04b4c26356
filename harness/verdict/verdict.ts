import type { Finding } from '../../lib/inspect/finding.ts';
import { formatDuration } from '../../lib/units.ts';
import { type FailureSeen, reasonFor } from './failures.ts';
import type { WaitingJob } from './news.ts';
import { loaderMenuIn, type Question } from './questions.ts';
import { BOOT_STAGES, type BootStage, isBefore } from './stages.ts';

/** Why a boot is bad. The one place where a cause becomes a sentence. */
export interface Cause {
  /** A word for programs: of a failure pattern, a question, a finding, or one of those below. */
  readonly name: string;
  /** Of the boot; "image" for what is seen without booting; "checks" or "shutdown" behind the boot itself. */
  readonly stage: string;
  readonly cause: string;
  /** When what shows it was seen, in milliseconds since the machine was started: the last byte before a silence. */
  readonly seenAtMs?: number | undefined;
  /** The line of the console that decided it, where there is one. */
  readonly line?: string | undefined;
}

/** How a wait for a boot ended, when it did not end well. */
export type BootEnd =
  | { readonly how: 'fatal'; readonly fatal: FailureSeen }
  | { readonly how: 'standstill'; readonly standstill: 'loop' | 'idle' | 'repeats' | 'silent' }
  | { readonly how: 'question'; readonly question: Question; readonly line: string; readonly answered: boolean }
  | { readonly how: 'flood' }
  /** A login prompt on the screen, and none on the console. */
  | { readonly how: 'screen' }
  | { readonly how: 'exit'; readonly reason: string | undefined; readonly restartedItself: boolean };

/** What was known of a machine when its boot ended. */
export interface BootFacts {
  /** How far it came, whoever shows it. */
  readonly stage: BootStage | undefined;
  /** How far it came as only the screen shows it. */
  readonly screenStage: BootStage | undefined;
  readonly failures: readonly FailureSeen[];
  /** What the console repeats, and the job that systemd waits for. */
  readonly repeated: string | undefined;
  readonly job: WaitingJob | undefined;
  /** A line that looks like a login prompt and was not confirmed. */
  readonly unconfirmedPrompt: string | undefined;
  readonly serialPort: string;
  /** Whether the image's loader entries name a serial console; undefined when that is not known. */
  readonly serialConsole: boolean | undefined;
  /** The end of what the console showed. */
  readonly recent: string;
  /** Milliseconds from the machine's start to its last byte. */
  readonly lastByteMs: number;
}

/** The most telling line of a failure: GRUB's error, for instance, not the "Press any key" that follows. */
const lineOf = ({ pattern, line }: FailureSeen, failures: readonly FailureSeen[]): string => {
  const reason = reasonFor(pattern.name, failures);
  return reason?.pattern.quiet === true ? reason.line : line;
};

/** The meaning of a failure, and that line. */
const told = (seen: FailureSeen, failures: readonly FailureSeen[]): string =>
  `${seen.pattern.cause}: ${lineOf(seen, failures)}`;

const because = (name: string, failures: readonly FailureSeen[]): string => {
  const reason = reasonFor(name, failures);
  return reason === undefined ? '' : `${reason.pattern.cause}: ${reason.line}; `;
};

/** The first reason that was seen, not the last consequence. */
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
      const refused = end.answered ? '; it was answered, and asks again' : '';
      return { name, stage, seenAtMs, line: end.line, cause: `${cause}: ${end.line.trim()}${refused}` };
    }
    case 'screen':
      return noSerialConsole(facts, 'the screen shows a login prompt, and the serial console does not');
    case 'flood':
      return {
        ...{ name: 'console-flood', stage, seenAtMs },
        cause: 'the console shows more than any boot has to say, and no login',
      };
    case 'standstill': {
      if (facts.screenStage !== undefined && !isBefore(facts.screenStage, 'kernel') && facts.serialConsole !== true)
        return noSerialConsole(
          facts,
          `the screen or the processor shows that it came to "${facts.screenStage}", and the serial console does not`,
        );
      if (facts.unconfirmedPrompt !== undefined) return unconfirmed(facts, facts.unconfirmedPrompt);
      const menu = isBefore(facts.stage, 'kernel') ? loaderMenuIn(facts.recent) : undefined;
      if (menu !== undefined)
        return {
          ...{ name: 'loader-menu', stage: 'loader', seenAtMs },
          cause: `${because('loader-menu', failures)}the boot loader shows its menu, and starts nothing by itself: ${menu}`,
        };
      if (facts.job !== undefined)
        return {
          ...{ name: 'waits-for-job', stage, seenAtMs },
          cause: `${because('waits-for-job', failures)}systemd waits for ${facts.job.unit}${facts.job.limitMs === undefined ? ', without a limit' : ''}`,
        };
      if (end.standstill === 'repeats' && facts.repeated !== undefined)
        return {
          ...{ name: 'repeats-itself', stage, seenAtMs, line: facts.repeated },
          cause: `${because('repeats-itself', failures)}the machine says the same again and again: ${facts.repeated}`,
        };
      const how = {
        loop: 'the machine computes and shows nothing more: it hangs in a loop',
        silent: 'the machine computes for minutes and shows nothing more',
        idle: 'the machine does nothing and shows nothing more',
        repeats: 'the machine says nothing new',
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
          ? 'the guest restarted itself before the login'
          : 'the machine reset itself without a word: a triple fault, or a kernel that could not run';
        return { name: 'machine-reset', stage, seenAtMs, cause: `${because('machine-reset', failures)}${own}` };
      }
      if (end.reason === 'guest-panic')
        return { name: 'kernel-panic', stage: 'kernel', seenAtMs, cause: 'the kernel panicked' };
      const cause =
        end.reason === 'guest-shutdown'
          ? 'the machine powered itself off before the login'
          : `the machine ended: ${end.reason}`;
      return { name: end.reason ?? 'machine-ended', stage, seenAtMs, cause };
    }
  }
}

function unconfirmed({ stage, lastByteMs }: BootFacts, prompt: string): Cause {
  return {
    ...{ name: 'login-prompt-unconfirmed', stage: stage ?? 'firmware', seenAtMs: lastByteMs, line: prompt },
    cause: `a line looks like a login prompt and is not one: it does not come again after Enter, or the system's init did not start: ${prompt}`,
  };
}

function causeOfFailure(fatal: FailureSeen, { stage = 'firmware', failures }: BootFacts): Cause {
  const { pattern, atMs } = fatal;
  const where = fatal.on === 'screen' ? ' (on the screen; the serial console shows nothing of it)' : '';
  const reason = reasonFor(pattern.name, failures);
  const own = `${told(fatal, failures)}${where}`;
  const line = lineOf(reason ?? fatal, failures);
  // A quiet one says what happened, and is not a failure of its own.
  if (reason === undefined || reason.pattern.quiet === true)
    return { name: pattern.name, stage: pattern.stage ?? stage, cause: own, seenAtMs: atMs, line };
  return {
    ...{ name: reason.pattern.name, stage: reason.pattern.stage ?? stage, seenAtMs: atMs, line },
    cause: `${told(reason, failures)}; then ${own}`,
  };
}

function noSerialConsole({ stage, serialPort, lastByteMs }: BootFacts, seen: string): Cause {
  return {
    ...{ name: 'no-serial-console', stage: stage ?? 'firmware', seenAtMs: lastByteMs },
    cause: `${seen}: the kernel has no console=${serialPort} in its parameters, or nobody serves a login there`,
  };
}

/** A login that did not lead to a shell. */
export function loginCause(
  how: 'asks-for-password' | 'refused' | 'asks-again' | 'no-shell',
  user: string,
  line: string,
): Pick<Cause, 'name' | 'cause' | 'line'> {
  const shown = line.trim() === '' ? '' : `: ${line.trim()}`;
  const decisive = shown === '' ? undefined : line;
  switch (how) {
    case 'asks-for-password':
      return { name: 'login-refused', cause: `the login of ${user} asks for a password${shown}`, line: decisive };
    case 'refused':
      return { name: 'login-refused', cause: `the login of ${user} was refused${shown}`, line: decisive };
    case 'asks-again':
      return {
        name: 'login-refused',
        cause: `the name ${user} was given several times, and the login asks for it again${shown}`,
        line: decisive,
      };
    case 'no-shell':
      return {
        name: 'no-shell',
        cause: `behind the login of ${user} there is no shell that runs commands${shown}`,
        line: decisive,
      };
  }
}

/** Where a shell is that is not in the image's own system. */
export function insideCause(
  how: 'in-initrd' | 'foreign-root' | 'foreign-init',
  found: string,
  failures: readonly FailureSeen[],
): Pick<Cause, 'name' | 'cause'> {
  const own = {
    'in-initrd': "the login leads to a shell in the initrd, not in the image's system",
    'foreign-root': 'the root filesystem that the login leads to is not on this disk',
    'foreign-init': "process 1 is not the init of the image's system",
  }[how];
  return { name: how, cause: `${because(how, failures)}${own}: ${found}` };
}

/** What is wrong with the root filesystem of a system that booted. */
export function rootCause(how: 'root-full' | 'read-only-root', found: string, failures: readonly FailureSeen[]): Cause {
  const own = {
    'root-full': 'the root filesystem is full',
    'read-only-root': 'the root filesystem is mounted read-only, and is meant to be written to',
  }[how];
  return { name: how, stage: 'init', cause: `it boots, but ${because(how, failures)}${own}: ${found}` };
}

/** An error that did not end the boot. */
export function errorCause({ pattern, line, atMs, reached }: FailureSeen): Cause {
  return {
    ...{ name: pattern.name, stage: pattern.stage ?? reached ?? 'init', seenAtMs: atMs, line },
    cause: `it boots, but ${pattern.cause}: ${line}`,
  };
}

/** Checks that did not hold. */
export function checkCause(wrong: readonly { readonly name: string; readonly message: string | undefined }[]): Cause {
  return {
    ...{ name: 'check-failed', stage: 'checks' },
    cause: wrong.map(({ name, message }) => `${name}: ${message}`).join('\n'),
  };
}

export function shutdownCause(found: string): Cause {
  return { name: 'unclean-shutdown', stage: 'shutdown', cause: `the guest did not power off cleanly: ${found}` };
}

/** What kept the guest from powering off. */
export function shutdownFailure({
  failure: name,
  reason,
  seenAtMs,
}: {
  readonly failure: string;
  readonly reason: string;
  readonly seenAtMs: number | undefined;
}): Cause {
  return { name, stage: 'shutdown', seenAtMs, cause: `the guest does not power off: ${reason}` };
}

/** More was typed, or less, than the guest takes in the time that it was given. */
export function timeoutCause(stage: string, waitedFor: string, timeoutMs: number): Cause {
  return { name: 'timeout', stage, cause: `waited ${formatDuration(timeoutMs)} for ${waitedFor}, which did not come` };
}

/** What looks wrong and was not: the machine went on. */
export function describeWarning({ pattern, line }: FailureSeen): string {
  return pattern.severity === 'fatal' ? `the boot went on after: ${line}` : `${pattern.cause}: ${line}`;
}

/** A warning for a line that looks like a kernel message and that a program printed. */
export function describeForeign({ line }: FailureSeen): string {
  return `printed by a program, for the kernel's own log does not have it: ${line}`;
}

/** What is known of the image explains where a boot stops; and a boot that stops nowhere does not make the image good. */
export function blame<C extends Cause>(cause: C, findings: readonly Finding[]): C {
  const failedAt = BOOT_STAGES.find((stage) => stage === cause.stage);
  if (failedAt === undefined) return cause;
  // What cannot work stops a boot there or before; what is only wrong, there or later.
  const reason =
    findings.find(({ severity, stage }) => severity === 'fatal' && !isBefore(stage, failedAt)) ??
    findings.find(({ severity, stage }) => severity === 'error' && !isBefore(failedAt, stage));
  if (reason === undefined) return cause;
  return { ...cause, name: reason.code, stage: reason.stage, cause: `${reason.message}; the boot: ${cause.cause}` };
}

/** A finding of an image that boots in spite of it. */
export function findingCause({ code, message }: Finding): Cause {
  return { name: code, stage: 'image', cause: `it boots here, but ${message}` };
}

/** The root filesystem's device, as far as it is known. */
export interface RootDevices {
  /** As the kernel names them: "vda2", "dm-0", and what they are on. */
  readonly devices: readonly string[];
}

/** Whether something seen concerns the root filesystem: what is not about a device does, and all does while the root is unknown. */
export function concernsRoot({ device }: FailureSeen, root: RootDevices | undefined): boolean {
  if (device === undefined || root === undefined || root.devices.length === 0) return !isNoDisk(device);
  return root.devices.some((one) => one === device || one.startsWith(device));
}

/** Floppy, optical and loop devices hold no root of a disk image. */
function isNoDisk(device: string | undefined): boolean {
  return device !== undefined && /^(?:fd|sr|loop|zram|ram)\d/.test(device);
}
