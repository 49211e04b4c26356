import { stripVTControlCharacters } from 'node:util';
import xterm from '@xterm/headless';

/** Sequences and returns whose end has not come yet. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences are made of them.
const CUT_SEQUENCE = /(?:\u001b(?:\[[0-?]*[ -/]*|[\]P^_X][^\u0007\u001b]{0,4000}\u001b?|[ -/]*)?|\r+)$/;
/** Strings for a terminal: device control, titles, privacy messages. @see ECMA-48 8.3 */
// biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences are made of them.
const STRINGS = /\u001b[\]P^_X][^\u0007\u001b]{0,4000}(?:\u0007|\u001b\\)/g;
/** The cursor goes to the first column of some line. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences are made of them.
const TO_LINE_START = /\u001b\[(?:\d*(?:;0*1?)?[Hf]|\d*[EFJ])/g;
/** Control sequences, colours with colons among them, and escapes of two or three characters. @see ECMA-48 5.4 */
// biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences are made of them.
const SEQUENCES = /\u001b(?:\[[0-?]*[ -/]*[@-~]|[ -/]+[0-~]|[0-Z\\^-~])/g;
// biome-ignore lint/suspicious/noControlCharactersInRegex: this is what is removed.
const OTHER_CONTROLS = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/g;

/** Characters of text kept for matching; older text is in the log file. */
const KEPT_CHARACTERS = 1024 * 1024;

/** Bytes that wait for the screen before the machine does. */
const FLOW_BYTES = 1024 * 1024;

/** A machine's serial console: what it sent, as text and as a screen, and what is sent to it.
 *
 *  Event-driven: each piece is looked at when it arrives. Matching goes forward, as expect(1)'s: a wait begins where the
 *  last match ended. */
export class SerialConsole {
  /** Columns of the pty and of the screen: wide, so that no prompt wraps. */
  static readonly columns = 200;
  static readonly rows = 50;

  readonly #terminal = new xterm.Terminal({
    cols: SerialConsole.columns,
    rows: SerialConsole.rows,
    scrollback: 2000,
    allowProposedApi: true,
    // It would print what it cannot parse, and a guest may send anything.
    logLevel: 'off',
    windowOptions: { getWinSizeChars: true },
  });
  readonly #decoder = new TextDecoder();
  readonly #listeners = new Set<(text: string) => void>();
  #text = '';
  /** How many characters were dropped from the front of #text. */
  #dropped = 0;
  #matchedTo = 0;
  #heldEscape = '';
  #lastByteAt = performance.now();
  readonly #send: (data: string) => void;
  readonly #flow: { readonly pause: () => void; readonly resume: () => void };
  #receivedBytes = 0;
  /** Bytes that the screen has not taken yet. */
  #unshownBytes = 0;
  #paused = false;
  #heldLines: Promise<string[]> | undefined;
  /** Whether the terminal answers what the guest asks it; not while commands are typed, which an answer would garble. */
  answersQuestions = true;

  /** @param flow stops and restarts what feeds it: a guest may send faster than a screen is drawn. */
  constructor(send: (data: string) => void, flow = { pause: () => {}, resume: () => {} }) {
    this.#send = send;
    this.#flow = flow;
    // Firmware turns wrapping off and leaves it so: what stands behind the last column would be lost.
    this.#terminal.parser.registerCsiHandler({ prefix: '?', final: 'l' }, (parameters) => parameters.includes(7));
    // A terminal is asked questions (cursor position, size, attributes), and the guest waits for the answers.
    this.#terminal.onData((reply) => {
      if (this.answersQuestions) this.#send(reply);
    });
  }

  /** When the last byte arrived, in milliseconds of performance.now(). */
  get lastByteAt(): number {
    return this.#lastByteAt;
  }

  /** How much has come altogether. */
  get receivedBytes(): number {
    return this.#receivedBytes;
  }

  /** All text kept, without escape sequences and carriage returns. */
  get text(): string {
    return this.#text;
  }

  /** Called with each new piece of text. Returns what ends it. */
  onText(listener: (text: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Takes what the machine sent. */
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

  /** Forgets what was there: the next wait looks only at what comes from now on. */
  skip(): void {
    this.#matchedTo = this.#dropped + this.#text.length;
  }

  /** The first match behind the last one, if it is there already; the next wait begins behind it. */
  take(pattern: RegExp): RegExpExecArray | undefined {
    const from = Math.max(0, this.#matchedTo - this.#dropped);
    const match = new RegExp(pattern.source, pattern.flags.replace(/[gy]/g, '')).exec(this.#text.slice(from));
    if (match === null) return undefined;
    this.#matchedTo = this.#dropped + from + match.index + match[0].length;
    return match;
  }

  /** Where the text now ends, for `since`. */
  mark(): number {
    return this.#dropped + this.#text.length;
  }

  /** The text behind a mark, as far as it is kept. */
  since(mark: number): string {
    return this.#text.slice(Math.max(0, mark - this.#dropped));
  }

  /** From here on the harness types: the lines that the guest showed until now are kept as they are. */
  holdLines(): void {
    this.#heldLines ??= this.#lines();
  }

  releaseLines(): void {
    this.#heldLines = undefined;
  }

  /** The last lines that are not empty, as a person would have seen them: not what the harness typed then. */
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
    // A sequence that was cut in two waits for its other half, and a carriage return for its newline.
    const cut = CUT_SEQUENCE.exec(joined);
    this.#heldEscape = cut === null ? '' : joined.slice(cut.index);
    const whole = cut === null ? joined : joined.slice(0, cut.index);
    const plain = stripVTControlCharacters(
      whole.replace(STRINGS, '').replace(TO_LINE_START, '\n').replace(SEQUENCES, ''),
    );
    // QEMU's newlines are \r\r\n. A return alone begins the line anew: what stands behind it is what can be seen.
    return plain.replace(/\r+\n/g, '\n').replaceAll('\r', '\n').replace(OTHER_CONTROLS, '');
  }
}
