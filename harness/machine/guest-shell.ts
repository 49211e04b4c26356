import { randomBytes } from 'node:crypto';
import { AssertionFailedError, BootFailedError, HarnessError, WaitTimeoutError } from '../errors.ts';
import { decodeAnswer, ENCODERS, type Encoder, posixCksum, printfLiteral } from './guest-encoding.ts';
import type { LiveMachine } from './live-machine.ts';
import type { GuestResult } from './machine-spec.ts';
import { waitUntil } from './wait.ts';

/** Longest line typed at once: a terminal in canonical mode takes 4095 bytes, and drops what comes faster than the shell reads. */
const TYPED_CHARACTERS = 700;

/** What is fetched at once of a command's output or of a file. */
const PIECE_BYTES = 32 * 1024;
/** The most that is brought over the console of a command's output: more belongs into a file. */
const MOST_OUTPUT_BYTES = 16 * 1024 * 1024;

/** Silence of an idle machine after which an answer counts as lost among what others print, and is asked for again. */
const LOST_IDLE_MS = 4000;
/** How often it is asked for again. A command that takes its time is asked for in vain, which does no harm. */
const MOST_REQUESTS = 200;
const MOST_GARBLED = 12;

/** How long a command that was interrupted has to end. */
const INTERRUPT_MS = 20_000;

/** Directories that a user may write to in a running system, those in memory first. */
// biome-ignore lint/suspicious/noTemplateCurlyInString: it is the guest's shell's.
const DIRECTORIES = '"${XDG_RUNTIME_DIR:-/nonexistent}" /dev/shm /run /tmp /var/tmp "$HOME"';

/** Read line by line and evaluated: no prompt, no line editor that asks the terminal, no history. Ctrl-C reaches the command that
 *  runs and not this. */
const LOOP =
  'trap : INT QUIT TSTP; n=0; while [ $n -lt 50 ]; do if IFS= read -r l; then n=0; eval "$l"; else n=$((n+1)); fi; done';

/** Defined in the guest's shell, one a line. `$d` is a directory of our own there, `$e` encodes standard input, `$k` is cksum where there is one.
 *  A answers with the status, size and checksum of the file $2; P with a piece of it. What an answer begins and ends with stands in no
 *  line that is typed. */
const FUNCTIONS = [
  String.raw`K() { if [ -n "$k" ]; then $k < "$1" | { read -r x y; printf %s "$x"; }; else printf -; fi; }`,
  String.raw`S() { wc -c < "$1" | { read -r x; printf %s "$x"; }; }`,
  String.raw`A() { printf '\n@%s %s %s %s@\n' "$1" "$3" "$(S "$2")" "$(K "$2")"; }`,
  String.raw`P() { dd if="$2" of="$d/p" bs=$4 skip=$3 count=1 2>/dev/null; printf '\n@%s 0 %s %s@\n' "$1" "$(S "$d/p")" "$(K "$d/p")"; eval "$e" < "$d/p"; printf '\n@%s.@\n' "$1"; }`,
  String.raw`R() { (eval "$c") > "$d/o" 2>&1 < /dev/null; r=$?; A "$1" "$d/o" $r; }`,
];

/** A shell in the guest that answers in frames with length and checksum, whatever else is printed on the console meanwhile. */
export class GuestShell {
  readonly #machine: LiveMachine;
  readonly #encoder: Encoder;
  readonly #hasChecksum: boolean;
  readonly #frames: FrameReader;
  /** What runs and does not end. */
  #stuckAt: string | undefined;

  private constructor(machine: LiveMachine, encoder: Encoder, hasChecksum: boolean, frames: FrameReader) {
    this.#machine = machine;
    this.#encoder = encoder;
    this.#hasChecksum = hasChecksum;
    this.#frames = frames;
  }

  /** Turns the sh that takes what is typed into one that is only spoken to by this.
   *  @throws {BootFailedError} in a guest that has nothing to encode an answer with. */
  static async take(machine: LiveMachine, timeoutMs: number): Promise<GuestShell> {
    const { console } = machine;
    const frames = new FrameReader(machine);
    console.answersQuestions = false;
    // What is typed from here on is the harness's own, and no part of what the guest showed.
    console.holdLines();
    console.write(`stty -echo 2>/dev/null; export TERM=dumb PAGER=cat SYSTEMD_PAGER=; exec sh -c '${LOOP}'\n`);
    const said = async (line: string, answer: RegExp, what: string): Promise<RegExpExecArray> => {
      let asked = 0;
      for (;;) {
        console.skip();
        console.write(line);
        asked += 1;
        const found = await waitUntil(
          machine,
          ({ idleMs }) => console.take(answer) ?? (idleMs > LOST_IDLE_MS && asked < 5 ? 'lost' : undefined),
          what,
          timeoutMs,
        );
        if (found !== 'lost') return found;
      }
    };
    const id = randomBytes(3).toString('hex');
    await said(
      `umask 077; for d in ${DIRECTORIES}; do d="$d/.boot-check-$$"; mkdir "$d" 2>/dev/null && break; [ -d "$d" ] && break; done; printf '\\n@%s d%s@\\n' ${id} "$(cd "$d" && echo 1)"\n`,
      new RegExp(`@${id} d1@`),
      'the shell to find a directory that it may write to',
    );
    for (const [index, line] of FUNCTIONS.entries())
      await said(
        `${line}; printf '\\n@%s f%s@\\n' ${id} ${index}\n`,
        new RegExp(`@${id} f${index}@`),
        'the shell to define what answers',
      );
    const names = ENCODERS.map(({ program }) => program).join(' ');
    const [, name = '', checksum = ''] = await said(
      `k=; command -v cksum >/dev/null && k=cksum; e=; for x in ${names}; do command -v $x >/dev/null && echo x | $x $([ $x = openssl ] && echo base64) >/dev/null 2>&1 && e=$x && break; done; printf '\\n@%s e%s,%s@\\n' ${id} "$e" "$k"\n`,
      new RegExp(`@${id} e(\\w*),(\\w*)@`),
      'the shell to name what encodes an answer',
    );
    const encoder = ENCODERS.find(({ program }) => program === name);
    if (encoder === undefined)
      throw new BootFailedError(
        machine.parts.name,
        'login',
        `commands cannot be run: the guest has none of ${names}, which bring an answer over the console`,
        await machine.evidence(),
        { name: 'no-shell' },
      );
    await said(
      `e='${encoder.command}'; printf '\\n@%s g@\\n' ${id}\n`,
      new RegExp(`@${id} g@`),
      'the shell to take what encodes an answer',
    );
    return new GuestShell(machine, encoder, checksum !== '', frames);
  }

  /** Runs a shell command. What it leaves in the background runs on.
   *  @throws {AssertionFailedError} when it prints more than is brought over the console; {WaitTimeoutError} when it does not end: it
   *  is then interrupted, as by Ctrl-C. */
  async execute(command: string, timeoutMs: number): Promise<GuestResult> {
    if (this.#stuckAt !== undefined)
      throw new HarnessError(`${this.#machine.parts.name}: the shell still runs: ${this.#stuckAt}`);
    await this.#send(Buffer.from(command), command, timeoutMs);
    const id = newId();
    let answer: Frame;
    try {
      answer = await this.#ask(id, `R ${id}`, `A ${id} "$d/o" $r`, `the end of: ${command}`, timeoutMs);
    } catch (error) {
      if (error instanceof WaitTimeoutError) await this.#interrupt(id, command);
      throw error;
    }
    if (answer.size > MOST_OUTPUT_BYTES)
      throw new AssertionFailedError(
        `${this.#machine.parts.name}: "${shorten(command)}" printed ${answer.size} bytes; at most ${MOST_OUTPUT_BYTES} are brought over the console`,
        { hint: 'write them to a file in the guest, and fetch it with copyFromGuest' },
      );
    const output = await this.#fetch('"$d/o"', answer.size, timeoutMs);
    return { exitCode: answer.status, output: output.toString('utf8') };
  }

  /** The contents of a file of the guest's. */
  async read(path: string, timeoutMs: number, onPiece: (piece: Buffer) => Promise<void> | void): Promise<number> {
    await this.#send(Buffer.from(path), path, timeoutMs);
    const id = newId();
    const request = `f=$c; if [ -f "$f" ] && [ -r "$f" ]; then A ${id} "$f" 0; else printf '\\n@%s 1 0 -@\\n' ${id}; fi`;
    const { status, size } = await this.#ask(id, request, request, `the size of ${path}`, timeoutMs);
    if (status !== 0)
      throw new AssertionFailedError(
        `${this.#machine.parts.name}: ${path} is not a file that can be read in the guest`,
      );
    await this.#fetchPieces('"$f"', size, timeoutMs, onPiece);
    return size;
  }

  /** Writes a file in the guest. */
  async write(path: string, contents: AsyncIterable<Buffer> | Iterable<Buffer>, timeoutMs: number): Promise<number> {
    const begin = await this.execute(': > "$d/w"', timeoutMs);
    if (begin.exitCode !== 0)
      throw new AssertionFailedError(`${this.#machine.parts.name}: cannot write in the guest: ${begin.output}`);
    let size = 0;
    for await (const piece of contents)
      for (let from = 0; from < piece.length; from += WRITTEN_BYTES) {
        const part = piece.subarray(from, from + WRITTEN_BYTES);
        // Into a file of its own first: a piece that is sent again must not be there twice.
        await this.#sendFile(part, path, timeoutMs);
        const { exitCode, output } = await this.execute('cat "$d/s" >> "$d/w"', timeoutMs);
        if (exitCode !== 0)
          throw new AssertionFailedError(`${this.#machine.parts.name}: cannot write ${path} in the guest: ${output}`);
        size += part.length;
      }
    const { exitCode, output } = await this.execute(
      `mkdir -p "$(dirname ${quote(path)})" && cat "$d/w" > ${quote(path)}; s=$?; rm -f "$d/w" "$d/s"; exit $s`,
      timeoutMs,
    );
    if (exitCode !== 0)
      throw new AssertionFailedError(`${this.#machine.parts.name}: cannot write ${path} in the guest: ${output}`);
    return size;
  }

  /** Has the guest do something and is not answered: it powers off. */
  leave(command: string): void {
    this.#machine.console.write(`rm -rf "$d"; ${command}\n`);
  }

  async #sendFile(bytes: Buffer, what: string, timeoutMs: number): Promise<void> {
    await this.#sendAs('"$d/s"', bytes, what, timeoutMs);
  }

  /** Puts bytes into the guest's variable c. A shell's variable holds no zero bytes. */
  async #send(bytes: Buffer, what: string, timeoutMs: number): Promise<void> {
    if (bytes.includes(0)) throw new AssertionFailedError(`${shorten(what)}: a command holds no zero byte`);
    await this.#sendAs('"$d/c"', bytes, what, timeoutMs);
    const id = newId();
    const take = `c=$(cat "$d/c"; printf .); c=\${c%.}; A ${id} "$d/c" 0`;
    await this.#ask(id, take, take, `the shell to take: ${shorten(what)}`, timeoutMs);
  }

  /** Types bytes into a file of the guest's, and again when they arrive garbled. */
  async #sendAs(file: string, bytes: Buffer, what: string, timeoutMs: number): Promise<void> {
    const waitedFor = `the shell to take: ${shorten(what)}`;
    for (let attempt = 0; attempt < MOST_GARBLED; attempt += 1) {
      const lines = printfLiteral(bytes, TYPED_CHARACTERS);
      for (const [index, line] of lines.entries()) {
        const id = newId();
        const typed = `printf '${line}' ${index === 0 ? '>' : '>>'} ${file}; A ${id} ${file} 0`;
        const { size, checksum } = await this.#ask(id, typed, `A ${id} ${file} 0`, waitedFor, timeoutMs);
        if (index < lines.length - 1) continue;
        if (size === bytes.length && this.#isChecksum(checksum, bytes)) return;
      }
    }
    throw new HarnessError(`${this.#machine.parts.name}: what is typed arrives garbled in the guest: ${shorten(what)}`);
  }

  async #fetch(file: string, size: number, timeoutMs: number): Promise<Buffer> {
    const pieces: Buffer[] = [];
    await this.#fetchPieces(file, size, timeoutMs, (piece) => {
      pieces.push(piece);
    });
    return Buffer.concat(pieces);
  }

  async #fetchPieces(
    file: string,
    size: number,
    timeoutMs: number,
    onPiece: (piece: Buffer) => Promise<void> | void,
  ): Promise<void> {
    for (let index = 0; index * PIECE_BYTES < size; index += 1) {
      const expected = Math.min(PIECE_BYTES, size - index * PIECE_BYTES);
      await onPiece(await this.#fetchPiece(file, index, expected, timeoutMs));
    }
  }

  async #fetchPiece(file: string, index: number, expected: number, timeoutMs: number): Promise<Buffer> {
    let seen = '';
    for (let attempt = 0; attempt < MOST_GARBLED; attempt += 1) {
      const id = newId();
      const request = `P ${id} ${file} ${index} ${PIECE_BYTES}`;
      const frame = await this.#ask(id, request, request, 'an answer of the guest', timeoutMs, true);
      const bytes = decodeAnswer(this.#encoder, frame.lines);
      if (bytes?.length === frame.size && this.#isChecksum(frame.checksum, bytes)) {
        if (frame.size === expected) return bytes;
        throw new AssertionFailedError(
          `${this.#machine.parts.name}: a file changed in the guest while it was fetched: expected a piece of ${expected} bytes, found ${frame.size}`,
        );
      }
      seen = frame.lines.join('\n').slice(-200);
    }
    throw new HarnessError(
      `${this.#machine.parts.name}: an answer came garbled ${MOST_GARBLED} times: ${JSON.stringify(seen)}`,
    );
  }

  #isChecksum(found: string, bytes: Buffer): boolean {
    return !this.#hasChecksum || found === `${posixCksum(bytes)}`;
  }

  /** Types a line and waits for its answer; where the machine then does nothing, types `again`, for the answer was lost. */
  async #ask(
    id: string,
    line: string,
    again: string,
    what: string,
    timeoutMs: number,
    withLines = false,
  ): Promise<Frame> {
    const { console } = this.#machine;
    this.#frames.expect(id, withLines);
    console.write(`${line}\n`);
    let requests = 0;
    let idleSince = 0;
    const frame = await waitUntil(
      this.#machine,
      ({ idleMs }) => {
        const found = this.#frames.found;
        if (found !== undefined) return found;
        if (idleMs < idleSince) idleSince = 0;
        if (idleMs - idleSince > LOST_IDLE_MS * (1 + Math.min(requests, 10)) && requests < MOST_REQUESTS) {
          requests += 1;
          idleSince = idleMs;
          this.#frames.expect(id, withLines);
          console.write(`${again}\n`);
        }
        return undefined;
      },
      what,
      timeoutMs,
    );
    this.#machine.watch.isWell(this.#machine.now);
    return frame;
  }

  async #interrupt(id: string, command: string): Promise<void> {
    for (const key of ['\u0003', '\u001c']) {
      this.#frames.expect(id, false);
      this.#machine.console.write(key);
      this.#machine.console.write(`A ${id} "$d/o" 130\n`);
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

/** What is typed of a file at once. */
const WRITTEN_BYTES = 4096;

interface Frame {
  readonly status: number;
  readonly size: number;
  readonly checksum: string;
  /** Between its beginning and its end. */
  readonly lines: readonly string[];
}

const HEAD = /@([0-9a-f]{8}) (\d+) (\d+) ([0-9-]+)@/;

/** Picks an answer out of what the console shows, line by line: in one pass, and keeping only what is asked for. */
class FrameReader {
  #id = '';
  #withLines = false;
  #rest = '';
  #head: Omit<Frame, 'lines'> | undefined;
  #lines: string[] = [];
  found: Frame | undefined;

  constructor(machine: LiveMachine) {
    machine.console.onText((text) => {
      if (this.#id === '' || this.found !== undefined) return;
      const lines = (this.#rest + text).split('\n');
      this.#rest = (lines.pop() ?? '').slice(-8192);
      for (const line of lines) this.#take(line);
      if (this.found !== undefined) machine.wake();
    });
  }

  expect(id: string, withLines: boolean): void {
    this.#id = id;
    this.#withLines = withLines;
    this.#rest = '';
    this.#head = undefined;
    this.#lines = [];
    this.found = undefined;
  }

  #take(line: string): void {
    if (this.found !== undefined) return;
    const [, id, status, size, checksum = ''] = HEAD.exec(line) ?? [];
    if (id === this.#id) {
      this.#head = { status: Number(status), size: Number(size), checksum };
      this.#lines = [];
      if (!this.#withLines) this.found = { ...this.#head, lines: [] };
      return;
    }
    if (this.#head === undefined) return;
    if (line.includes(`@${this.#id}.@`)) this.found = { ...this.#head, lines: this.#lines };
    // More than a piece can be is noise.
    else if (this.#lines.length < 10_000) this.#lines.push(line);
  }
}

function newId(): string {
  return randomBytes(4).toString('hex');
}

function shorten(text: string): string {
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}

/** A word for the guest's shell. */
export function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
