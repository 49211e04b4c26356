import { stripVTControlCharacters } from 'node:util';
import xterm from '@xterm/headless';

/** An escape sequence or carriage return at the end of a chunk that may be incomplete. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences are made of them.
const CUT_SEQUENCE = /(?:\u001b(?:\[[0-?]*[ -/]*|[\]P^_X][^\u0007\u001b]{0,4000}\u001b?|[ -/]*)?|\r+)$/;
/** Control strings: device control, titles, privacy messages. @see ECMA-48 8.3 */
// biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences are made of them.
const STRINGS = /\u001b[\]P^_X][^\u0007\u001b]{0,4000}(?:\u0007|\u001b\\)/g;
/** Sequences that move the cursor to the first column of a line. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences are made of them.
const TO_LINE_START = /\u001b\[(?:\d*(?:;0*1?)?[Hf]|\d*[EFJ])/g;
/** Control sequences, including colors with colons, and escape sequences of two or three characters. @see ECMA-48 5.4 */
// biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences are made of them.
const SEQUENCES = /\u001b(?:\[[0-?]*[ -/]*[@-~]|[ -/]+[0-~]|[0-Z\\^-~])/g;
// biome-ignore lint/suspicious/noControlCharactersInRegex: the expression removes them.
const OTHER_CONTROLS = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/g;

/** Characters of text to keep for matching; older text is in the log file. */
const KEPT_CHARACTERS = 1024 * 1024;

/** Bytes that the terminal may have pending before the machine is paused. */
const FLOW_BYTES = 1024 * 1024;

/** A machine's serial console: its output as text and as a terminal screen, and its input.
 *
 *  Output is processed when it arrives. Matching moves forward, like expect(1): a wait starts at the end of the last match. */
export class SerialConsole {
  /** Columns of the pty and of the screen: so many that no prompt wraps. */
  static readonly columns = 200;
  static readonly rows = 50;

  readonly #terminal = new xterm.Terminal({
    cols: SerialConsole.columns,
    rows: SerialConsole.rows,
    scrollback: 2000,
    allowProposedApi: true,
    // xterm would log sequences that it cannot parse, and a guest may send anything.
    logLevel: 'off',
    windowOptions: { getWinSizeChars: true },
  });
  readonly #decoder = new TextDecoder();
  readonly #listeners = new Set<(text: string) => void>();
  #text = '';
  /** Characters dropped from the front of #text. */
  #dropped = 0;
  #matchedTo = 0;
  #heldEscape = '';
  #lastByteAt = performance.now();
  readonly #send: (data: string) => void;
  readonly #flow: { readonly pause: () => void; readonly resume: () => void };
  #receivedBytes = 0;
  /** Bytes that the terminal has not processed yet. */
  #unshownBytes = 0;
  #paused = false;
  #heldLines: Promise<string[]> | undefined;
  /** Whether the terminal answers queries from the guest. Off while commands are typed, which an answer would garble. */
  answersQuestions = true;

  /** @param flow pauses and resumes the source: a guest may send faster than the terminal processes. */
  constructor(send: (data: string) => void, flow = { pause: () => {}, resume: () => {} }) {
    this.#send = send;
    this.#flow = flow;
    // Firmware disables wrapping and does not enable it again: text beyond the last column would be lost.
    this.#terminal.parser.registerCsiHandler({ prefix: '?', final: 'l' }, (parameters) => parameters.includes(7));
    // Guests query the terminal (cursor position, size, attributes) and wait for the answers.
    this.#terminal.onData((reply) => {
      if (this.answersQuestions) this.#send(reply);
    });
  }

  /** When the last byte arrived, in milliseconds of performance.now(). */
  get lastByteAt(): number {
    return this.#lastByteAt;
  }

  /** The number of bytes received. */
  get receivedBytes(): number {
    return this.#receivedBytes;
  }

  /** The text kept so far, without escape sequences and carriage returns. */
  get text(): string {
    return this.#text;
  }

  /** Calls the listener with each new piece of text. @returns a function that removes the listener. */
  onText(listener: (text: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Processes output of the machine. */
  feed(data: Uint8Array): void {
    this.#lastByteAt = performance.now();
    this.#receivedBytes += data.length;
    this.#show(data);
    const text = this.#plain(this.#decoder.decode(data, { stream: true }));
    if (text === '') return;
    this.#text += text;
    if (this.#text.length > 2 * KEPT_CHARACTERS) {
      this.#dropped += this.#text.length - KEPT_CHARACTERS;
      this.#text = this.#text.slice(-KEPT_CHARACTERS);
    }
    for (const listener of this.#listeners) listener(text);
  }

  write(text: string): void {
    this.#send(text);
  }

  /** Skips the text so far: the next wait matches only later text. */
  skip(): void {
    this.#matchedTo = this.#dropped + this.#text.length;
  }

  /** Finds the first match after the last one, if the text already has it; the next wait starts after it. */
  take(pattern: RegExp): RegExpExecArray | undefined {
    const from = Math.max(0, this.#matchedTo - this.#dropped);
    const match = new RegExp(pattern.source, pattern.flags.replace(/[gy]/g, '')).exec(this.#text.slice(from));
    if (match === null) return undefined;
    this.#matchedTo = this.#dropped + from + match.index + match[0].length;
    return match;
  }

  /** The current end of the text, for `since`. */
  mark(): number {
    return this.#dropped + this.#text.length;
  }

  /** Returns the text after a mark, as far as it is kept. */
  since(mark: number): string {
    return this.#text.slice(Math.max(0, mark - this.#dropped));
  }

  /** Keeps the current lines for `lastLines`, before the harness types commands. */
  holdLines(): void {
    this.#heldLines ??= this.#lines();
  }

  releaseLines(): void {
    this.#heldLines = undefined;
  }

  /** Returns the last non-empty lines, as displayed by a terminal, without commands that the harness typed after `holdLines`. */
  async lastLines(count: number): Promise<string[]> {
    return (await (this.#heldLines ?? this.#lines())).slice(-count);
  }

  #show(data: Uint8Array): void {
    this.#unshownBytes += data.length;
    this.#terminal.write(data, () => {
      this.#unshownBytes -= data.length;
      if (this.#paused && this.#unshownBytes < FLOW_BYTES / 4) {
        this.#paused = false;
        this.#flow.resume();
      }
    });
    if (this.#unshownBytes > FLOW_BYTES && !this.#paused) {
      this.#paused = true;
      this.#flow.pause();
    }
  }

  async #lines(): Promise<string[]> {
    await new Promise<void>((resolve) => this.#terminal.write('', resolve));
    const buffer = this.#terminal.buffer.active;
    const lines: string[] = [];
    for (let row = 0; row < buffer.length; row += 1) {
      const line = buffer.getLine(row);
      if (line === undefined) continue;
      const text = line.translateToString(true);
      if (line.isWrapped && lines.length > 0) lines.push(`${lines.pop()}${text}`);
      else lines.push(text);
    }
    return lines.filter((line) => line.trim() !== '');
  }

  #plain(chunk: string): string {
    const joined = this.#heldEscape + chunk;
    // An incomplete sequence waits for its end, and a carriage return for its newline.
    const cut = CUT_SEQUENCE.exec(joined);
    this.#heldEscape = cut === null ? '' : joined.slice(cut.index);
    const whole = cut === null ? joined : joined.slice(0, cut.index);
    const plain = stripVTControlCharacters(
      whole.replace(STRINGS, '').replace(TO_LINE_START, '\n').replace(SEQUENCES, ''),
    );
    // QEMU's newlines are \r\r\n. A carriage return alone restarts the line: the text after it is what a terminal shows.
    return plain.replace(/\r+\n/g, '\n').replaceAll('\r', '\n').replace(OTHER_CONTROLS, '');
  }
}
