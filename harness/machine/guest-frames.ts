import type { LiveMachine } from './live-machine.ts';

/** An answer from the guest's shell: the status of a command, and its output as a file. */
export interface Frame {
  readonly status: number;
  readonly size: number;
  readonly checksum: string;
  /** The lines between the head and the end of the answer, including those that other programs printed there. */
  readonly lines: readonly string[];
}

const HEAD = /@([0-9a-f]{8}) (\d+) (\d+) ([0-9-]+)@/;

/** More lines than an answer can have: the rest is noise. */
const MAX_LINES = 20_000;

/** The longest line that may be part of an answer. */
const LONGEST_LINE = 8192;

/** Finds an answer in the console's output, line by line in one pass. */
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
      else if (this.#lines.length < MAX_LINES) this.#lines.push(line);
    }
  }
}
