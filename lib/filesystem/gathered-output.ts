import type { FileHandle } from 'node:fs/promises';
import { BLOCK_BYTES } from '../formats/ext4/layout.ts';

/** The maximum size of one write. */
export const CHUNK_BYTES = 1024 * 1024;
const SYNC_BYTES = 64 * 1024 * 1024;

/** Gathers contiguous blocks into large writes, because most files have only a few. While one buffer is written, the
 *  other is filled. */
export class GatheredOutput {
  readonly #handle: FileHandle;
  readonly #offsetBytes: number;
  #buffer = Buffer.allocUnsafe(CHUNK_BYTES);
  #other = Buffer.allocUnsafe(CHUNK_BYTES);
  #written: Promise<void> = Promise.resolve();
  #first = 0;
  #blocks = 0;
  #unsyncedBytes = 0;
  #syncing = false;
  #synced: Promise<void> = Promise.resolve();

  constructor(handle: FileHandle, offsetBytes: number) {
    this.#handle = handle;
    this.#offsetBytes = offsetBytes;
  }

  /** Whether blocks can be appended to the buffer. Otherwise, the caller must flush first. */
  continuesAt(physical: number, blocks: number): boolean {
    return physical === this.#first + this.#blocks && (this.#blocks + blocks) * BLOCK_BYTES <= CHUNK_BYTES;
  }

  /** The part of the buffer for blocks that go to a place in the filesystem. */
  place(physical: number, blocks: number): Buffer {
    if (this.#blocks === 0) this.#first = physical;
    const start = this.#blocks * BLOCK_BYTES;
    this.#blocks += blocks;
    return this.#buffer.subarray(start, start + blocks * BLOCK_BYTES);
  }

  /** Starts to write the buffer, once the previous write is done. */
  async flush(): Promise<void> {
    await this.#written;
    const full = this.#buffer.subarray(0, this.#blocks * BLOCK_BYTES);
    this.#written = writeAll(this.#handle, full, this.#offsetBytes + this.#first * BLOCK_BYTES);
    // The next flush awaits it; until then, a rejection must not count as unhandled.
    this.#written.catch(() => undefined);
    this.#startSync(full.length);
    [this.#buffer, this.#other] = [this.#other, this.#buffer];
    this.#blocks = 0;
  }

  async end(): Promise<void> {
    await this.flush();
    await this.#written;
    await this.#synced;
  }

  /** Starts to sync early, so that the final sync of the image takes less long. */
  #startSync(bytes: number): void {
    this.#unsyncedBytes += bytes;
    if (this.#unsyncedBytes < SYNC_BYTES || this.#syncing) return;
    this.#unsyncedBytes = 0;
    this.#syncing = true;
    this.#synced = this.#handle.datasync().finally(() => {
      this.#syncing = false;
    });
    this.#synced.catch(() => undefined);
  }
}

async function writeAll(handle: FileHandle, bytes: Buffer, at: number): Promise<void> {
  for (let done = 0; done < bytes.length; )
    done += (await handle.write(bytes, done, bytes.length - done, at + done)).bytesWritten;
}
