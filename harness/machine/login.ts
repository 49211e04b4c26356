import { randomInt } from 'node:crypto';
import { BootFailedError } from '../errors.ts';
import { asksForLogin, asksForPassword, questionIn, refusalIn, saysNotYet } from '../verdict/questions.ts';
import { isBefore } from '../verdict/stages.ts';
import { type Cause, loginCause } from '../verdict/verdict.ts';
import type { LiveMachine } from './live-machine.ts';
import { Processor } from './processor.ts';
import { type BootWaitOptions, type Quiet, waitUntil } from './wait.ts';

/** How many times a user name is typed at a login prompt. */
const MAX_ATTEMPTS = 5;
/** The same while only root can log in. */
const MAX_EARLY_ATTEMPTS = 60;

/** Silence after a prompt, after which no more output is expected. */
const PROMPT_MS = 40;
/** How long a prompt may take to reappear after Enter on an idle machine. */
const AGAIN_IDLE_MS = 4000;
/** Silence of an idle machine after which an unknown line is taken for a prompt. */
const WAITS_MS = 700;
/** The same on a busy machine. */
const COMPUTES_MS = 6000;
/** Silence of an idle machine after which no prompt is expected. */
const NO_PROMPT_MS = 3000;

/** How much a system reads from its root filesystem before it asks for a login; an initrd that only looks for disks reads less. */
const ROOT_BYTES = 512 * 1024;

/** The end of a shell prompt; not ">", which many programs use for questions, nor a percentage. */
const SHELL_PROMPT = /(?<!(?:^|[^\p{L}-])\d+(?:[.,]\d+)? ?)%\s*$|[#$❯➜→λ»›⟩]\s*$/u;

/** The end of most shells' prompts, which is accepted sooner than others. */
const USUAL_PROMPT = /[#$] ?$/;
const USUAL_PROMPT_MS = 150;

/** How long a machine may stay idle after a prompt that could not be confirmed. */
const UNCONFIRMED_MS = 15_000;

const SHELL_ATTEMPTS = 4;

export type ConsoleOffers = 'login' | 'shell';

/** Waits until the console offers a login, or a shell without one. A prompt counts only after the start of the system's init, at
 *  the end of the output, and if it reappears after Enter. */
export async function waitForOffer(
  machine: LiveMachine,
  timeoutMs: number,
  options: BootWaitOptions,
  { loginFollows }: { readonly loginFollows: boolean },
): Promise<ConsoleOffers> {
  const { watch, console } = machine;
  /** The number of bytes received when a line was found not to be a prompt. */
  let rejectedAt = -1;
  for (;;) {
    const seen = await waitUntil(
      machine,
      (quiet) => {
        if (console.receivedBytes === rejectedAt) return undefined;
        return offerAt(machine, quiet);
      },
      'the login prompt',
      timeoutMs,
      {
        ...{ questions: 'all', nudges: true, hang: 'as usual', ...options },
        ...(machine.unconfirmedPrompt === undefined ? {} : { idleMs: UNCONFIRMED_MS }),
      },
    );
    const atMs = console.lastByteAt - machine.startedAt;
    // A login checks later where its shell runs.
    if (!loginFollows && !(await isPastInitrd(machine))) {
      machine.unconfirmedPrompt = watch.prompt.trim();
      rejectedAt = console.receivedBytes;
      continue;
    }
    if (seen === 'shell') return 'shell';
    const prompt = watch.prompt;
    const lines = watch.lineCount;
    machine.type('\n', 'to check that the login prompt reappears');
    const again = await waitUntil(
      machine,
      ({ silentMs, idleMs }) => {
        if (watch.lineCount > lines && asksForLogin(watch.prompt) && silentMs >= PROMPT_MS) return true;
        return idleMs > AGAIN_IDLE_MS ? false : undefined;
      },
      'the login prompt to reappear after Enter',
      timeoutMs,
      { hang: 'as usual', ...options },
    );
    if (again) {
      machine.unconfirmedPrompt = undefined;
      watch.stages.note('login', atMs);
      return 'login';
    }
    machine.unconfirmedPrompt = prompt.trim();
    // Other output after Enter may be from a shell.
    if (watch.prompt === prompt || asksForLogin(watch.prompt)) rejectedAt = console.receivedBytes;
  }
}

/** Classifies the last line. */
function offerAt({ watch, parts }: LiveMachine, { silentMs, idleMs }: Quiet): ConsoleOffers | undefined {
  const { prompt, furthest } = watch;
  if (prompt === '' || silentMs < PROMPT_MS) return undefined;
  if (asksForLogin(prompt)) return 'login';
  // A loader's prompt looks the same, and a shell in the initrd means that the boot failed.
  if (isBefore(furthest, parts.isDirect ? 'kernel' : 'init') && idleMs < NO_PROMPT_MS) return undefined;
  if (isBefore(furthest, 'kernel') || idleMs < WAITS_MS || !SHELL_PROMPT.test(prompt)) return undefined;
  const question = questionIn(prompt, false);
  return question === undefined || question.name === 'asks-a-question' ? 'shell' : undefined;
}

/** Returns whether the initrd has finished: whether the machine has read as much from its disk since its kernel started as a system
 *  needs. An initrd that only prints a prompt reads almost nothing. */
async function isPastInitrd(machine: LiveMachine): Promise<boolean> {
  const { watch, parts } = machine;
  if (parts.isDirect) return true;
  if (isBefore(watch.furthest, 'kernel')) await new Processor(machine).look();
  if (isBefore(watch.furthest, 'kernel')) return false;
  const use = await machine.diskUse();
  return use === undefined || use.readBytes - machine.readBytesAtKernel >= ROOT_BYTES;
}

/** Types a user name and a password at the login's prompts, in any language, and waits for a shell.
 *  @throws {BootFailedError} if the login is refused. */
export async function logIn(
  machine: LiveMachine,
  user: string,
  password: string | undefined,
  timeoutMs: number,
  options: BootWaitOptions,
): Promise<void> {
  const { watch, console } = machine;
  const waiting: BootWaitOptions = { hang: 'as usual', questions: 'all', ...options };
  let attempts = 0;
  let early = 0;
  for (;;) {
    let mark = console.mark();
    let lines = watch.lineCount;
    const next = (what: string): Promise<Waiting> =>
      waitUntil(machine, (quiet) => waitingAt(machine, quiet, lines), what, timeoutMs, waiting);
    console.write(`${user}\n`);
    let found = await next(`a response to the user name ${user}`);
    if (found === 'password') {
      if (password === undefined) throw await failed(machine, loginCause('asks-for-password', user, watch.prompt));
      lines = watch.lineCount;
      mark = console.mark();
      console.write(`${password}\n`);
      found = await next('a response to the password');
      // The password was typed, so the login asks for another one, or for the same one again.
      if (found === 'password') throw await failed(machine, loginCause('refused', user, watch.prompt));
      if (found === 'login' && !saysNotYet(console.since(mark)))
        throw await failed(machine, loginCause('refused', user, refusalIn(console.since(mark)) ?? ''));
    }
    if (found === 'shell') return;
    const said = console.since(mark);
    if (saysNotYet(said) && early < MAX_EARLY_ATTEMPTS) {
      early += 1;
      await waitUntil(machine, ({ silentMs }) => (silentMs > 1000 ? true : undefined), 'the login', timeoutMs, waiting);
      continue;
    }
    const refusal = refusalIn(said);
    if (refusal !== undefined) throw await failed(machine, loginCause('refused', user, refusal));
    attempts += 1;
    if (attempts < MAX_ATTEMPTS) continue;
    const { prompt } = watch;
    // A shell's prompt may look like a login prompt.
    if (await computes(machine, timeoutMs, { hang: 'as usual', ...options })) return;
    throw await failed(machine, loginCause('asks-again', user, prompt));
  }
}

type Waiting = 'login' | 'password' | 'shell';

/** Returns what the guest waits for; undefined if it does not wait yet. */
function waitingAt({ watch }: LiveMachine, { silentMs, idleMs }: Quiet, lines: number): Waiting | undefined {
  // The guest echoes typed keys first.
  if (watch.lineCount === lines || silentMs < PROMPT_MS) return undefined;
  const { prompt } = watch;
  if (asksForLogin(prompt)) return silentMs > 2 * PROMPT_MS ? 'login' : undefined;
  if (questionIn(prompt, false)?.answer !== undefined) return undefined;
  if (asksForPassword(prompt)) return questionIn(prompt, false)?.name === 'asks-for-password' ? 'password' : undefined;
  const waits = idleMs > (USUAL_PROMPT.test(prompt) ? USUAL_PROMPT_MS : WAITS_MS) || silentMs > COMPUTES_MS;
  if (prompt.trim() !== '') {
    const question = questionIn(prompt, false);
    // Type nothing at a question except the expected password.
    if (!waits || (question !== undefined && (question.standsMs === undefined || /[?？]\s*$/.test(prompt))))
      return undefined;
    // In an unknown language, a password prompt also ends with a colon.
    return /[:：]\s*$/.test(prompt) ? 'password' : 'shell';
  }
  if (questionIn(watch.lastLine, true) !== undefined) return undefined;
  return idleMs > NO_PROMPT_MS || silentMs > 2 * COMPUTES_MS ? 'shell' : undefined;
}

/** Replaces the user's shell with sh, and verifies that it runs commands: it must compute a sum.
 *  @throws {BootFailedError} if no shell does. */
export async function findShell(
  machine: LiveMachine,
  user: string,
  timeoutMs: number,
  options: BootWaitOptions,
): Promise<void> {
  const { watch, console } = machine;
  const waiting: BootWaitOptions = { hang: 'as usual', ...options };
  for (let attempt = 0; attempt < SHELL_ATTEMPTS; attempt += 1) {
    const lines = watch.lineCount;
    // fish, zsh and nushell also have "exec". If it is not allowed, the shell itself may compute the sum. A backslash bypasses an
    // alias.
    console.write(attempt % 2 === 0 ? 'exec sh\n' : '\\exec sh\n');
    await waitUntil(
      machine,
      ({ silentMs, idleMs }) =>
        (watch.lineCount > lines && watch.prompt !== '' && idleMs > 150) || idleMs > WAITS_MS || silentMs > COMPUTES_MS
          ? true
          : undefined,
      'sh to start',
      timeoutMs,
      waiting,
    );
    if (await computes(machine, timeoutMs, waiting)) return;
  }
  throw await failed(machine, loginCause('no-shell', user, watch.prompt || watch.lastLine));
}

/** Returns whether a shell runs commands: it must compute a sum. */
async function computes(machine: LiveMachine, timeoutMs: number, options: BootWaitOptions): Promise<boolean> {
  const { console } = machine;
  const [a, b] = [randomInt(100_000, 999_999), randomInt(100_000, 999_999)];
  // A word before the sum means that "echo" is an alias.
  const answer = new RegExp(`(?<![A-Za-z] ?)=${a + b}=`);
  console.skip();
  console.write(`echo "=$((${a}+${b}))="\n`);
  return waitUntil(
    machine,
    ({ silentMs, idleMs }) => {
      if (console.take(answer) !== undefined) return true;
      return idleMs > NO_PROMPT_MS || silentMs > 2 * COMPUTES_MS ? false : undefined;
    },
    'the shell to answer',
    timeoutMs,
    options,
  );
}

async function failed(
  machine: LiveMachine,
  { name, cause, line }: Pick<Cause, 'name' | 'cause' | 'line'>,
): Promise<BootFailedError> {
  const seenAtMs = machine.console.lastByteAt - machine.startedAt;
  return new BootFailedError(machine.parts.name, 'login', cause, await machine.evidence(), { name, seenAtMs, line });
}
