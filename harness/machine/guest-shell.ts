import { randomBytes } from 'node:crypto';
import { AssertionFailedError, BootFailedError, HarnessError, WaitTimeoutError } from '../errors.ts';
import { loginCause } from '../verdict/verdict.ts';
import { decodeAnswer, ENCODERS, type Encoder, posixCksum, printfLiteral } from './guest-encoding.ts';
import { type Frame, FrameReader } from './guest-frames.ts';
import type { LiveMachine } from './live-machine.ts';
import type { GuestResult } from './machine-spec.ts';
import { waitUntil } from './wait.ts';

/** The longest text to type at once: a terminal in canonical mode takes 4095 bytes and drops what arrives faster than the shell
 *  reads. */
const TYPED_CHARACTERS = 700;

/** The longest output that is sent with the answer to a command. */
const INLINE_BYTES = 4096;
/** The size of the pieces in which longer output and files are fetched. */
const PIECE_BYTES = 64 * 1024;
/** The size of the pieces in which files are written. */
const WRITTEN_BYTES = 2048;
/** The most output of a command to fetch over the console. */
const MAX_OUTPUT_BYTES = 16 * 1024 * 1024;

/** The status of an answer to a command that arrived garbled. */
const GARBLED = 999;
const MAX_GARBLED = 12;

/** Silence of an idle machine after which an answer counts as lost in other output and is requested again. */
const LOST_IDLE_MS = 4000;
/** How many times an answer is requested again. A request while the command still runs is harmless. */
const MAX_REQUESTS = 200;

/** How long an interrupted command may take to end. */
const INTERRUPT_MS = 20_000;

/** Directories that a user may write to in a running system; directories in memory first. */
// biome-ignore lint/suspicious/noTemplateCurlyInString: the guest's shell expands it.
const DIRECTORIES = '"${XDG_RUNTIME_DIR:-/nonexistent}" /dev/shm /run /tmp /var/tmp "$HOME"';

/** Reads and evaluates lines, without a prompt, history, or a line editor that queries the terminal. With job control, Ctrl-C
 *  reaches only the running command, not this shell or the login(1) that waits for it. */
const LOOP =
  'set -m 2>/dev/null; trap : INT QUIT TSTP; n=0; while [ $n -lt 50 ]; do if IFS= read -r l; then n=0; eval "$l"; else n=$((n+1)); fi; done';

/** Functions for the guest's shell, one per line. `$d` is a private directory in the guest, `$e` the command that encodes standard
 *  input, `$k` is set if cksum exists. V measures a file: `$s` is its size, `$x` its checksum. A answers with a status, and with
 *  the size, the checksum and, if it is short, the contents of a file; P answers with a piece of a file; X runs the command in the
 *  file c if it arrived complete. No typed line contains the beginning or the end of an answer, so an echo is never taken for one. */
const FUNCTIONS = [
  'V() { if [ -n "$k" ]; then set -- $(cksum < "$1"); x=$1 s=$2; else s=$(wc -c < "$1"); s=$((s)) x=-; fi; }',
  `A() { V "$2"; printf '\\n@%s %s %s %s@\\n' "$1" "$3" "$s" "$x"; if [ "$s" -gt 0 ] && [ "$s" -le ${INLINE_BYTES} ]; then eval "$e" < "$2"; fi; printf '\\n@%s.@\\n' "$1"; }`,
  `P() { dd if="$2" of="$d/p" bs=$4 skip=$3 count=1 2>/dev/null; V "$d/p"; printf '\\n@%s 0 %s %s@\\n' "$1" "$s" "$x"; eval "$e" < "$d/p"; printf '\\n@%s.@\\n' "$1"; }`,
  `X() { V "$d/c"; if [ "$s $x" = "$2 $3" ]; then (. "$d/c") > "$d/o" 2>&1 < /dev/null; r=$?; A "$1" "$d/o" $r; else N "$1" ${GARBLED}; fi; }`,
  `N() { printf '\\n@%s %s 0 -@\\n\\n@%s.@\\n' "$1" "$2" "$1"; }`,
];

/** A shell in the guest. Its answers are frames with a length and a checksum, because other programs print to the console too. */
export class GuestShell {
  readonly #machine: LiveMachine;
  readonly #encoder: Encoder;
  readonly #hasChecksum: boolean;
  readonly #frames: FrameReader;
  /** The command that did not end after an interrupt. */
  #stuckAt: string | undefined;

  private constructor(machine: LiveMachine, encoder: Encoder, hasChecksum: boolean, frames: FrameReader) {
    this.#machine = machine;
    this.#encoder = encoder;
    this.#hasChecksum = hasChecksum;
    this.#frames = frames;
  }

  /** Turns the sh on the console into a shell that only this class uses.
   *  @throws {BootFailedError} if the guest cannot answer. */
  static async take(machine: LiveMachine, user: string, timeoutMs: number): Promise<GuestShell> {
    const { console } = machine;
    console.answersQuestions = false;
    // From here on, the console shows the harness's own commands.
    console.holdLines();
    console.write(`stty -echo 2>/dev/null; export TERM=dumb PAGER=cat SYSTEMD_PAGER=; exec sh -c '${LOOP}'\n`);
    const frames = new FrameReader(machine);
    const id = randomBytes(3).toString('hex');
    let step = 0;
    /** Types a line and returns what it prints in its numbered answer. */
    const ask = async (line: string, shown = ''): Promise<string> => {
      step += 1;
      const answer = new RegExp(`@${id} ${step} ([^@\n]*)@`);
      console.skip();
      for (let asked = 0; asked < 5; asked += 1) {
        console.write(`${line}; printf '\\n@%s %s %s@\\n' ${id} ${step} ${shown || '0'}\n`);
        const found = await waitUntil(
          machine,
          ({ idleMs }) => console.take(answer) ?? (idleMs > LOST_IDLE_MS ? 'lost' : undefined),
          'the shell to answer',
          timeoutMs,
        );
        if (found !== 'lost') return found[1] ?? '';
      }
      const {
        name,
        cause,
        line: decisive,
      } = loginCause('no-shell', user, machine.watch.prompt || machine.watch.lastLine);
      throw new BootFailedError(machine.parts.name, 'login', cause, await machine.evidence(), {
        name,
        line: decisive,
      });
    };
    const directory = await ask(
      `umask 077; for d in ${DIRECTORIES}; do d="$d/.boot-check-$$"; mkdir "$d" 2>/dev/null && break; [ -d "$d" ] && break; done`,
      '"$([ -w "$d" ] && echo yes)"',
    );
    const names = ENCODERS.map(({ program }) => program);
    for (const line of FUNCTIONS) await ask(line);
    const tools = await ask(
      `k=; command -v cksum >/dev/null && k=1; e=; for x in ${names.join(' ')}; do command -v $x >/dev/null && e=$x && break; done`,
      '"$e,$k"',
    );
    const [name, checksum] = tools.split(',');
    const encoder = ENCODERS.find(({ program }) => program === name);
    if (encoder === undefined || directory !== 'yes') {
      const lacks =
        directory === 'yes'
          ? `has none of ${names.join(', ')}, which encode answers for the console`
          : `has no directory that ${user} can write to`;
      throw new BootFailedError(
        machine.parts.name,
        'login',
        `commands cannot be run: the guest ${lacks}`,
        await machine.evidence(),
        { name: 'no-shell' },
      );
    }
    await ask(`e='${encoder.command}'`);
    return new GuestShell(machine, encoder, checksum === '1', frames);
  }

  /** Runs a shell command. Processes that it leaves in the background continue to run.
   *  @throws {AssertionFailedError} if it prints more than can be fetched over the console; {WaitTimeoutError} if it does not end
   *  in time: it is then interrupted, as by Ctrl-C. */
  async execute(command: string, timeoutMs: number): Promise<GuestResult> {
    if (this.#stuckAt !== undefined)
      throw new HarnessError(`${this.#machine.parts.name}: the shell is still running: ${this.#stuckAt}`);
    const answer = await this.#run(command, timeoutMs);
    if (answer.size > MAX_OUTPUT_BYTES)
      throw new AssertionFailedError(
        `${this.#machine.parts.name}: "${shorten(command)}" printed ${answer.size} bytes; at most ${MAX_OUTPUT_BYTES} can be fetched over the console`,
        { hint: 'write the output to a file in the guest and fetch it with copyFromGuest' },
      );
    const inline = answer.size <= INLINE_BYTES ? this.#decode(answer) : undefined;
    const output = inline ?? (await this.#fetch('"$d/o"', answer.size, timeoutMs));
    return { exitCode: answer.status, output: output.toString('utf8') };
  }

  /** Reads a file in the guest, piece by piece.
   *  @returns its size in bytes. */
  async read(path: string, timeoutMs: number, onPiece: (piece: Buffer) => void): Promise<number> {
    const file = quote(path);
    const { exitCode, output } = await this.execute(`[ -f ${file} ] && [ -r ${file} ] && wc -c < ${file}`, timeoutMs);
    if (exitCode !== 0)
      throw new AssertionFailedError(`${this.#machine.parts.name}: ${path} is not a readable file in the guest`, {
        detail: output,
      });
    const size = Number(output);
    await this.#fetchPieces(file, size, timeoutMs, onPiece);
    return size;
  }

  /** Writes a file in the guest.
   *  @returns its size in bytes. */
  async write(path: string, contents: AsyncIterable<Buffer> | Iterable<Buffer>, timeoutMs: number): Promise<number> {
    const must = async (command: string): Promise<void> => {
      const { exitCode, output } = await this.execute(command, timeoutMs);
      if (exitCode !== 0)
        throw new AssertionFailedError(`${this.#machine.parts.name}: cannot write ${path} in the guest`, {
          detail: output,
        });
    };
    await must(': > "$d/w"');
    let size = 0;
    for await (const piece of contents)
      for (let from = 0; from < piece.length; from += WRITTEN_BYTES) {
        const part = piece.subarray(from, from + WRITTEN_BYTES);
        // A command runs only if it arrived complete, so a piece that is typed again is not written twice.
        await must(`printf '${printfLiteral(part, Number.POSITIVE_INFINITY)[0]}' >> "$d/w"`);
        size += part.length;
      }
    const file = quote(path);
    await must(`mkdir -p "$(dirname ${file})" && cat "$d/w" > ${file}; s=$?; rm -f "$d/w"; exit $s`);
    return size;
  }

  /** Runs a command that ends this shell and does not answer, such as poweroff. */
  leave(command: string): void {
    this.#machine.console.write(`rm -rf "$d"; ${command}\n`);
  }

  /** Types a command into a file and runs it; types it again if it arrived garbled. */
  async #run(command: string, timeoutMs: number): Promise<Frame> {
    const bytes = Buffer.from(command);
    const expected = `${bytes.length} ${this.#hasChecksum ? posixCksum(bytes) : '-'}`;
    for (let attempt = 0; attempt < MAX_GARBLED; attempt += 1) {
      const lines = printfLiteral(bytes, TYPED_CHARACTERS);
      const last = lines.pop() ?? '';
      for (const [index, line] of lines.entries()) {
        const id = newId();
        const what = `the shell to receive: ${shorten(command)}`;
        const typed = `printf '${line}' ${index === 0 ? '>' : '>>'} "$d/c"; N ${id} 0`;
        await this.#ask(id, typed, `N ${id} 0`, what, timeoutMs);
      }
      const id = newId();
      const typed = `printf '${last}' ${lines.length === 0 ? '>' : '>>'} "$d/c"; X ${id} ${expected}`;
      try {
        const answer = await this.#ask(id, typed, `A ${id} "$d/o" $r`, `the end of: ${command}`, timeoutMs);
        if (answer.status !== GARBLED) return answer;
      } catch (error) {
        if (error instanceof WaitTimeoutError) await this.#interrupt(id, command);
        throw error;
      }
    }
    throw new BootFailedError(
      this.#machine.parts.name,
      'login',
      `commands cannot be run: typed text arrives garbled in the guest: ${shorten(command)}`,
      await this.#machine.evidence(),
      { name: 'no-shell' },
    );
  }

  async #fetch(file: string, size: number, timeoutMs: number): Promise<Buffer> {
    const pieces: Buffer[] = [];
    await this.#fetchPieces(file, size, timeoutMs, (piece) => pieces.push(piece));
    return Buffer.concat(pieces);
  }

  async #fetchPieces(file: string, size: number, timeoutMs: number, onPiece: (piece: Buffer) => void): Promise<void> {
    for (let index = 0; index * PIECE_BYTES < size; index += 1) {
      const expected = Math.min(PIECE_BYTES, size - index * PIECE_BYTES);
      onPiece(await this.#fetchPiece(file, index, expected, timeoutMs));
    }
  }

  async #fetchPiece(file: string, index: number, expected: number, timeoutMs: number): Promise<Buffer> {
    let seen = '';
    for (let attempt = 0; attempt < MAX_GARBLED; attempt += 1) {
      const id = newId();
      const request = `P ${id} ${file} ${index} ${PIECE_BYTES}`;
      const frame = await this.#ask(id, request, request, 'an answer from the guest', timeoutMs);
      const bytes = this.#decode(frame);
      if (bytes?.length === expected) return bytes;
      if (bytes !== undefined)
        throw new AssertionFailedError(
          `${this.#machine.parts.name}: a file in the guest changed while it was fetched: expected a piece of ${expected} bytes, found ${bytes.length}`,
        );
      seen = frame.lines.join('\n').slice(-200);
    }
    throw new HarnessError(
      `${this.#machine.parts.name}: an answer from the guest arrived garbled ${MAX_GARBLED} times: ${JSON.stringify(seen)}`,
    );
  }

  /** Decodes an answer; undefined if another program wrote into it. */
  #decode({ lines, size, checksum }: Frame): Buffer | undefined {
    const bytes = decodeAnswer(this.#encoder, lines);
    if (bytes.length !== size) return undefined;
    return !this.#hasChecksum || checksum === `${posixCksum(bytes)}` ? bytes : undefined;
  }

  /** Types a line and waits for its answer. Types `again` if the machine is idle without one, because the answer was lost. */
  async #ask(id: string, line: string, again: string, what: string, timeoutMs: number): Promise<Frame> {
    const { console, watch } = this.#machine;
    this.#frames.expect(id);
    console.write(`${line}\n`);
    let requests = 0;
    let idleFrom = 0;
    const frame = await waitUntil(
      this.#machine,
      ({ idleMs }) => {
        const { found } = this.#frames;
        if (found !== undefined) return found;
        if (idleMs < idleFrom) idleFrom = 0;
        if (idleMs - idleFrom > LOST_IDLE_MS * (1 + Math.min(requests, 10)) && requests < MAX_REQUESTS) {
          requests += 1;
          idleFrom = idleMs;
          this.#frames.expect(id);
          console.write(`${again}\n`);
        }
        return undefined;
      },
      what,
      timeoutMs,
    );
    watch.isWell(this.#machine.now);
    return frame;
  }

  async #interrupt(id: string, command: string): Promise<void> {
    // Ctrl-C, then Ctrl-\ for a command that ignores it.
    for (const key of ['\u0003', '\u001c']) {
      this.#frames.expect(id);
      this.#machine.console.write(key);
      const ended = await waitUntil(
        this.#machine,
        ({ idleMs }) => this.#frames.found ?? (idleMs > LOST_IDLE_MS ? false : undefined),
        'the command to end after Ctrl-C',
        INTERRUPT_MS,
      ).catch((error: unknown) => {
        if (error instanceof WaitTimeoutError) return false;
        throw error;
      });
      if (ended !== false) return;
    }
    this.#stuckAt = command;
  }
}

function newId(): string {
  return randomBytes(4).toString('hex');
}

function shorten(text: string): string {
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}

/** Quotes a word for the guest's shell. */
export function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
