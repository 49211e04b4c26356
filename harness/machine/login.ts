import { randomInt } from 'node:crypto';
import { BootFailedError } from '../errors.ts';
import { asksForLogin, asksForPassword, questionIn, refusalIn, saysNotYet } from '../verdict/questions.ts';
import { isBefore } from '../verdict/stages.ts';
import { type Cause, loginCause } from '../verdict/verdict.ts';
import type { LiveMachine } from './live-machine.ts';
import { Processor } from './processor.ts';
import { type BootWaitOptions, type Quiet, waitUntil } from './wait.ts';

/** How often a name is given to what looks like a login prompt. */
const MOST_ATTEMPTS = 5;
/** The same while only root may log in. */
const MOST_EARLY_ATTEMPTS = 60;

/** Silence behind a prompt: more would have come by then. */
const PROMPT_MS = 40;
/** How long whoever asked for a login has to ask again after Enter, when the machine does nothing. */
const AGAIN_IDLE_MS = 4000;
/** Silence of an idle machine after which a line that is not known is taken for what it looks like. */
const WAITS_MS = 700;
/** The same on a machine that computes. */
const COMPUTES_MS = 6000;
/** Silence of an idle machine without a prompt. */
const NO_PROMPT_MS = 3000;

/** What a system reads from its root filesystem before it asks for a login; an initrd that only looks for disks reads less. */
const ROOT_BYTES = 512 * 1024;

/** Ends of a line behind which a shell waits; not ">", behind which many programs ask, nor a percentage. */
const SHELL_PROMPT = /(?<!(?:^|[^\p{L}-])\d+(?:[.,]\d+)? ?)%\s*$|[#$❯➜→λ»›⟩]\s*$/u;

/** How most shells' prompts end. Such a line is believed sooner than another. */
const USUAL_PROMPT = /[#$] ?$/;
const USUAL_PROMPT_MS = 150;

/** How long an idle machine has whose only prompt was none. */
const UNCONFIRMED_MS = 15_000;

const SHELL_ATTEMPTS = 4;

export type ConsoleOffers = 'login' | 'shell';

/** Waits until the console offers a login, or a shell without one. A prompt is one only behind the system's init, at the end of
 *  the output, and when it comes again after Enter. */
export async function waitForOffer(
  machine: LiveMachine,
  timeoutMs: number,
  options: BootWaitOptions,
  { loginFollows }: { readonly loginFollows: boolean },
): Promise<ConsoleOffers> {
  const { watch, console } = machine;
  /** What has come when something was found to be no prompt. */
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
    // Whoever logs in is asked where he is.
    if (!loginFollows && !(await isPastInitrd(machine))) {
      machine.unconfirmedPrompt = watch.prompt.trim();
      rejectedAt = console.receivedBytes;
      continue;
    }
    if (seen === 'shell') return 'shell';
    const prompt = watch.prompt;
    const lines = watch.lineCount;
    machine.type('\n', 'to see whether the login prompt comes again');
    const again = await waitUntil(
      machine,
      ({ silentMs, idleMs }) => {
        if (watch.lineCount > lines && asksForLogin(watch.prompt) && silentMs >= PROMPT_MS) return true;
        return idleMs > AGAIN_IDLE_MS ? false : undefined;
      },
      'the login prompt to come again after Enter',
      timeoutMs,
      { hang: 'as usual', ...options },
    );
    if (again) {
      machine.unconfirmedPrompt = undefined;
      watch.stages.note('login', atMs);
      return 'login';
    }
    machine.unconfirmedPrompt = prompt.trim();
    // What came in its place may be a shell.
    if (watch.prompt === prompt || asksForLogin(watch.prompt)) rejectedAt = console.receivedBytes;
  }
}

/** What the last line looks like. */
function offerAt({ watch, parts }: LiveMachine, { silentMs, idleMs }: Quiet): ConsoleOffers | undefined {
  const { prompt, furthest } = watch;
  if (prompt === '' || silentMs < PROMPT_MS) return undefined;
  if (asksForLogin(prompt)) return 'login';
  // A loader's prompt ends in the same way, and a shell in the initrd has given up.
  if (isBefore(furthest, parts.isDirect ? 'kernel' : 'init') && idleMs < NO_PROMPT_MS) return undefined;
  if (isBefore(furthest, 'kernel') || idleMs < WAITS_MS || !SHELL_PROMPT.test(prompt)) return undefined;
  const question = questionIn(prompt, false);
  return question === undefined || question.name === 'asks-a-question' ? 'shell' : undefined;
}

/** Whether the initrd is over. Where no init says that it starts, by what the machine has read from its disk since its kernel
 *  runs: an initrd that only prints a prompt reads nothing. */
async function isPastInitrd(machine: LiveMachine): Promise<boolean> {
  const { watch, parts } = machine;
  if (parts.isDirect) return true;
  if (isBefore(watch.furthest, 'kernel')) await new Processor(machine).look();
  if (isBefore(watch.furthest, 'kernel')) return false;
  const use = await machine.diskUse();
  return use === undefined || use.readBytes - machine.readBytesAtKernel >= ROOT_BYTES;
}

/** Gives a user's name and password to the login that asks for them, in whatever language, and waits for what comes behind.
 *  @throws {BootFailedError} when the login is refused. */
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
    let found = await next(`what comes behind the name ${user}`);
    if (found === 'password') {
      if (password === undefined) throw await failed(machine, loginCause('asks-for-password', user, watch.prompt));
      lines = watch.lineCount;
      mark = console.mark();
      console.write(`${password}\n`);
      found = await next('the shell behind the password');
      // It was typed, so it is asked for something else, or again.
      if (found === 'password') throw await failed(machine, loginCause('refused', user, watch.prompt));
      if (found === 'login' && !saysNotYet(console.since(mark)))
        throw await failed(machine, loginCause('refused', user, refusalIn(console.since(mark)) ?? ''));
    }
    if (found === 'shell') return;
    const said = console.since(mark);
    if (saysNotYet(said) && early < MOST_EARLY_ATTEMPTS) {
      early += 1;
      await waitUntil(machine, ({ silentMs }) => (silentMs > 1000 ? true : undefined), 'the login', timeoutMs, waiting);
      continue;
    }
    const refusal = refusalIn(said);
    if (refusal !== undefined) throw await failed(machine, loginCause('refused', user, refusal));
    attempts += 1;
    if (attempts < MOST_ATTEMPTS) continue;
    const { prompt } = watch;
    // The prompt of a shell may look like that of a login.
    if (await computes(machine, timeoutMs, { hang: 'as usual', ...options })) return;
    throw await failed(machine, loginCause('asks-again', user, prompt));
  }
}

type Waiting = 'login' | 'password' | 'shell';

/** For what the guest waits, once it waits. */
function waitingAt({ watch }: LiveMachine, { silentMs, idleMs }: Quiet, lines: number): Waiting | undefined {
  // What was typed is echoed first.
  if (watch.lineCount === lines || silentMs < PROMPT_MS) return undefined;
  const { prompt } = watch;
  if (asksForLogin(prompt)) return silentMs > 2 * PROMPT_MS ? 'login' : undefined;
  if (questionIn(prompt, false)?.answer !== undefined) return undefined;
  if (asksForPassword(prompt)) return questionIn(prompt, false)?.name === 'asks-for-password' ? 'password' : undefined;
  const waits = idleMs > (USUAL_PROMPT.test(prompt) ? USUAL_PROMPT_MS : WAITS_MS) || silentMs > COMPUTES_MS;
  if (prompt.trim() !== '') {
    const question = questionIn(prompt, false);
    // Nothing is typed at a question but the password that is expected.
    if (!waits || (question !== undefined && (question.standsMs === undefined || /[?？]\s*$/.test(prompt))))
      return undefined;
    // In a language that is not known here, a password is asked for at the end of a line, too.
    return /[:：]\s*$/.test(prompt) ? 'password' : 'shell';
  }
  if (questionIn(watch.lastLine, true) !== undefined) return undefined;
  return idleMs > NO_PROMPT_MS || silentMs > 2 * COMPUTES_MS ? 'shell' : undefined;
}

/** Makes sure that a shell takes what is typed: replaces the one that is there, whichever it is, by sh, and has it compute.
 *  @throws {BootFailedError} where nothing does. */
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
    // fish, zsh and nushell know "exec" too; where it is not allowed, the shell computes as well. A backslash keeps an alias out.
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

/** Whether a shell reads what is typed: it is asked for a sum. */
async function computes(machine: LiveMachine, timeoutMs: number, options: BootWaitOptions): Promise<boolean> {
  const { console } = machine;
  const [a, b] = [randomInt(100_000, 999_999), randomInt(100_000, 999_999)];
  // If a word comes before it, "echo" is an alias for something else.
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
