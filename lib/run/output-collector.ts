const STREAMED_TAIL_BYTES = 64 * 1024;

/** Collects the output of a command: all of it, or only the tail if it is streamed to a callback. */
export class OutputCollector {
  readonly #onChunk: ((chunk: Buffer) => void) | undefined;
  readonly #maxBytes: number;
  #chunks: Buffer[] = [];
  #length = 0;

  constructor(onChunk: ((chunk: Buffer) => void) | undefined, maxBytes = STREAMED_TAIL_BYTES) {
    this.#onChunk = onChunk;
    this.#maxBytes = maxBytes;
  }

  readonly push = (chunk: Uint8Array): void => {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    this.#onChunk?.(bytes);
    this.#chunks.push(bytes);
    this.#length += bytes.length;
    if (this.#onChunk === undefined || this.#length <= 2 * this.#maxBytes) return;
    this.#chunks = [Buffer.from(Buffer.concat(this.#chunks).subarray(-this.#maxBytes))];
    this.#length = this.#maxBytes;
  };

  bytes(): Buffer {
    const all = Buffer.concat(this.#chunks);
    return this.#onChunk === undefined ? all : all.subarray(-this.#maxBytes);
  }
}
