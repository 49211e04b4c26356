import { connect, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import pRetry from 'p-retry';
import { z } from 'zod';
import { AbortedError } from '../../lib/run/errors.ts';
import { HarnessError } from '../errors.ts';

/** An event from QEMU. @see QEMU QMP Reference Manual */
export interface QmpEvent {
  readonly event: string;
  readonly data: Readonly<Record<string, unknown>>;
  /** When it was received, in milliseconds of performance.now(). */
  readonly receivedAt: number;
}

const messageSchema = z.looseObject({
  QMP: z.unknown().optional(),
  event: z.string().optional(),
  data: z.record(z.string(), z.unknown()).optional(),
  return: z.unknown().optional(),
  error: z.object({ class: z.string(), desc: z.string() }).optional(),
  id: z.number().optional(),
});

interface Waiting {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** A client for QMP, the QEMU Machine Protocol, on a private socket: one JSON object per line. */
export class QmpClient implements Disposable {
  readonly #socket: Socket;
  readonly #waiting = new Map<number, Waiting>();
  readonly #onEvent: (event: QmpEvent) => void;
  /** Resolves when QEMU has closed the connection, after the last event. */
  readonly closed: Promise<void>;
  #nextId = 1;
  #rest = '';
  #closed = false;

  private constructor(socket: Socket, onEvent: (event: QmpEvent) => void) {
    this.#socket = socket;
    this.#onEvent = onEvent;
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => this.#receive(text));
    socket.on('error', () => this.#close());
    this.closed = new Promise((resolve) => {
      socket.on('close', () => {
        this.#close();
        resolve();
      });
    });
  }

  /** Connects as soon as QEMU listens, and negotiates capabilities. Gives up when `alive` returns false. */
  static async connect(
    path: string,
    onEvent: (event: QmpEvent) => void,
    alive: () => boolean,
    signal?: AbortSignal,
  ): Promise<QmpClient> {
    const socket = await connectUnixSocket(path, 'QMP', alive, signal);
    const client = new QmpClient(socket, onEvent);
    await client.execute('qmp_capabilities');
    return client;
  }

  /** Runs a QMP command.
   *  @throws {HarnessError} if QEMU refuses the command or has ended. */
  execute(command: string, args?: Readonly<Record<string, unknown>>): Promise<unknown> {
    if (this.#closed) return Promise.reject(new HarnessError(`QMP ${command}: QEMU has ended`));
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, {
        resolve,
        reject: (error) => reject(new HarnessError(`QMP ${command}: ${error.message}`, { cause: error })),
      });
      this.#socket.write(
        `${JSON.stringify({ execute: command, id, ...(args === undefined ? {} : { arguments: args }) })}\n`,
      );
    });
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
    this.#close();
  }

  #receive(text: string): void {
    this.#rest += text;
    const lines = this.#rest.split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) {
      if (line.trim() === '') continue;
      const message = messageSchema.parse(JSON.parse(line));
      if (message.event !== undefined)
        this.#onEvent({ event: message.event, data: message.data ?? {}, receivedAt: performance.now() });
      const waiting = message.id === undefined ? undefined : this.#waiting.get(message.id);
      if (message.id === undefined || waiting === undefined) continue;
      this.#waiting.delete(message.id);
      if (message.error !== undefined) waiting.reject(new Error(`${message.error.class}: ${message.error.desc}`));
      else waiting.resolve(message.return);
    }
  }

  #close(): void {
    this.#closed = true;
    for (const waiting of this.#waiting.values()) waiting.reject(new Error('QEMU closed the connection'));
    this.#waiting.clear();
  }
}

/** Connects to a socket that QEMU is about to listen on. QEMU does not announce when it does, so this retries at growing intervals
 *  while QEMU runs. */
export async function connectUnixSocket(
  path: string,
  what: string,
  alive: () => boolean,
  signal?: AbortSignal,
): Promise<Socket> {
  return pRetry(
    () =>
      new Promise<Socket>((resolve, reject) => {
        const socket = connect({ path });
        socket.once('error', reject);
        socket.once('connect', () => {
          socket.off('error', reject);
          resolve(socket);
        });
      }),
    {
      retries: 200,
      minTimeout: 4,
      factor: 1.2,
      maxTimeout: 250,
      shouldRetry: () => alive(),
      ...(signal === undefined ? {} : { signal }),
    },
  ).catch((cause: unknown) => {
    if (signal?.aborted) throw new AbortedError(what, { cause: signal.reason });
    throw new HarnessError(`cannot connect to QEMU's ${what} socket ${path}`, { cause });
  });
}

/** Waits until `promise` settles or `milliseconds` have passed. @returns whether it settled. */
export async function settleWithin(promise: Promise<unknown>, milliseconds: number): Promise<boolean> {
  const timer = new AbortController();
  try {
    return await Promise.race([
      promise.then(
        () => true,
        () => true,
      ),
      delay(milliseconds, false, { signal: timer.signal, ref: false }).catch(() => false),
    ]);
  } finally {
    timer.abort();
  }
}
