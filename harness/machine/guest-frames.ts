import type { LiveMachine } from './live-machine.ts';

/** An answer of the guest's shell: what it says of a file, and the lines that encode the file. */
export interface Frame {
  readonly status: number;
  readonly size: number;
  readonly checksum: string;
  /** Between its beginning and its end, with what others printed there. */
  readonly lines: readonly string[];
}

const HEAD = /@([0-9a-f]{8}) (\d+) (\d+) ([0-9-]+)@/;

/** More lines than an answer can have are noise. */
const MOST_LINES = 20_000;

/** Longest line that may still be part of an answer. */
const LONGEST_LINE = 8192;

/** Picks an answer out of what the console shows, line by line: in one pass, and keeping only what is asked for. */
export class FrameReader {
  #id = '';
  #rest = '';
  #head: Omit<Frame, 'lines'> | undefined;
  #lines: string[] = [];
  found: Frame | undefined;

  constructor(machine: LiveMachine) {
    machine.console.onText((text) => {
      if (this.#id === '' || this.found !== undefined) return;
      const lines = (this.#rest + text).split('\n');
      this.#rest = (lines.pop() ?? '').slice(-LONGEST_LINE);
      for (const line of lines) this.#take(line);
      if (this.found !== undefined) machine.wake();
    });
  }

  expect(id: string): void {
    this.#id = id;
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
    } else if (this.#head !== undefined) {
      if (line.includes(`@${this.#id}.@`)) this.found = { ...this.#head, lines: this.#lines };
      else if (this.#lines.length < MOST_LINES) this.#lines.push(line);
    }
  }
}
