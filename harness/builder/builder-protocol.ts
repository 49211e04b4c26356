import type { Socket } from 'node:net';
import { Readable } from 'node:stream';

/** The channel to the builder VM's agent (vm-images/builder/agent.c): frames with a 32-bit length, a type and a 32-bit command ID,
 *  little-endian, over a virtio-serial port. */

const HEADER_BYTES = 9;
/** Bytes of input sent before the command has read them: more would fill the guest's memory. */
const INPUT_WINDOW_BYTES = 256 * 1024;
const INPUT_CHUNK_BYTES = 32 * 1024;

interface CommandEnd {
  readonly exitCode: number | undefined;
  readonly signal: number | undefined;
  /** Why the program could not be started: "ENOENT", or the system's message. */
  readonly startFailure: string | undefined;
}

interface CommandHandlers {
  readonly onStdout: (chunk: Buffer) => void;
  readonly onStderr: (chunk: Buffer) => void;
}

interface RunningCommand extends CommandHandlers {
  readonly resolve: (end: CommandEnd) => void;
  readonly reject: (error: Error) => void;
  inFlight: number;
  wake: (() => void) | undefined;
}

export interface CommandRequest extends CommandHandlers {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  readonly input: string | Uint8Array | Readable | undefined;
}

export interface StartedCommand {
  readonly ended: Promise<CommandEnd>;
  /** Kills the command and its child processes. */
  kill(): void;
}

/** The host's end of the channel. */
export class AgentChannel {
  readonly ready: Promise<void>;
  readonly #socket: Socket;
  readonly #running = new Map<number, RunningCommand>();
  #received: Buffer[] = [];
  #receivedBytes = 0;
  #nextId = 1;
  #lost: Error | undefined;
  #markReady: () => void = () => {};

  constructor(socket: Socket) {
    this.#socket = socket;
    this.ready = new Promise((resolve) => {
      this.#markReady = resolve;
    });
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    socket.on('error', () => {});
  }

  /** Fails all current and future commands, because the machine has ended. */
  lose(error: Error): void {
    this.#lost ??= error;
    for (const command of this.#running.values()) command.reject(error);
    this.#running.clear();
    this.#socket.destroy();
  }

  start(request: CommandRequest): StartedCommand {
    const run = encodeRun(request);
    const id = this.#nextId++;
    if (this.#lost !== undefined) return { ended: Promise.reject(this.#lost), kill: () => {} };
    const ended = new Promise<CommandEnd>((resolve, reject) => {
      this.#running.set(id, {
        onStdout: request.onStdout,
        onStderr: request.onStderr,
        resolve,
        reject,
        inFlight: 0,
        wake: undefined,
      });
    });
    this.#send('R', id, run);
    this.#sendInput(id, request.input).catch((error: unknown) => {
      // The input stream failed, not the machine.
      const command = this.#running.get(id);
      this.#send('K', id);
      this.#running.delete(id);
      command?.reject(error instanceof Error ? error : new Error(String(error)));
    });
    return { ended, kill: () => this.#send('K', id) };
  }

  async #sendInput(id: number, input: CommandRequest['input']): Promise<void> {
    const source = input === undefined ? [] : input instanceof Readable ? input : [input];
    for await (const piece of source as AsyncIterable<string | Uint8Array>) {
      const bytes =
        typeof piece === 'string' ? Buffer.from(piece) : Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength);
      for (let from = 0; from < bytes.length; from += INPUT_CHUNK_BYTES) {
        const chunk = bytes.subarray(from, from + INPUT_CHUNK_BYTES);
        await this.#roomFor(id, chunk.length);
        const command = this.#running.get(id);
        if (command === undefined) return;
        command.inFlight += chunk.length;
        this.#send('I', id, chunk);
      }
    }
    this.#send('E', id);
  }

  async #roomFor(id: number, bytes: number): Promise<void> {
    for (;;) {
      const command = this.#running.get(id);
      if (command === undefined || command.inFlight + bytes <= INPUT_WINDOW_BYTES) return;
      await new Promise<void>((resolve) => {
        command.wake = resolve;
      });
    }
  }

  #send(type: string, id: number, body: Uint8Array = Buffer.alloc(0)): void {
    if (this.#lost !== undefined || this.#socket.destroyed) return;
    const header = Buffer.alloc(HEADER_BYTES);
    header.writeUInt32LE(body.length, 0);
    header.write(type, 4, 'latin1');
    header.writeUInt32LE(id, 5);
    this.#socket.write(Buffer.concat([header, body]));
  }

  #receive(chunk: Buffer): void {
    this.#received.push(chunk);
    this.#receivedBytes += chunk.length;
    while (this.#receivedBytes >= HEADER_BYTES) {
      if ((this.#received[0]?.length ?? 0) < HEADER_BYTES) this.#received = [Buffer.concat(this.#received)];
      const head = this.#received[0] ?? Buffer.alloc(0);
      const length = head.readUInt32LE(0);
      if (this.#receivedBytes < HEADER_BYTES + length) return;
      if (head.length < HEADER_BYTES + length) this.#received = [Buffer.concat(this.#received)];
      const whole = this.#received[0] ?? head;
      const body = whole.subarray(HEADER_BYTES, HEADER_BYTES + length);
      const rest = whole.subarray(HEADER_BYTES + length);
      if (rest.length === 0) this.#received.shift();
      else this.#received[0] = rest;
      this.#receivedBytes -= HEADER_BYTES + length;
      this.#handle(String.fromCharCode(whole[4] ?? 0), whole.readUInt32LE(5), body);
    }
  }

  #handle(type: string, id: number, body: Buffer): void {
    if (type === 'Y') {
      this.#markReady();
      return;
    }
    const command = this.#running.get(id);
    if (command === undefined) return;
    if (type === 'O') command.onStdout(body);
    else if (type === 'S') command.onStderr(body);
    else if (type === 'A') {
      command.inFlight -= body.readUInt32LE(0);
      command.wake?.();
      command.wake = undefined;
    } else if (type === 'X' || type === 'F') {
      this.#running.delete(id);
      command.wake?.();
      if (type === 'F')
        command.resolve({ exitCode: undefined, signal: undefined, startFailure: body.toString('utf8') });
      else {
        const signal = body.readUInt32LE(4);
        command.resolve({
          exitCode: signal === 0 ? body.readUInt32LE(0) : undefined,
          signal: signal === 0 ? undefined : signal,
          startFailure: undefined,
        });
      }
    }
  }
}

/** Encodes a command: the counts of argv and environment, then cwd, argv and environment, each terminated by NUL. */
function encodeRun({ argv, env, cwd }: CommandRequest): Buffer {
  const variables = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  const strings = [cwd, ...argv, ...variables];
  if (strings.some((text) => text.includes('\0')))
    throw new RangeError('an argument contains a NUL character, which cannot be passed to a program');
  const counts = Buffer.alloc(8);
  counts.writeUInt32LE(argv.length, 0);
  counts.writeUInt32LE(variables.length, 4);
  return Buffer.concat([counts, ...strings.map((text) => Buffer.from(`${text}\0`))]);
}
