import type { FileHandle } from 'node:fs/promises';
import { BLOCK_BYTES } from '../formats/ext4/layout.ts';

/** Bytes that go out in one write. */
export const CHUNK_BYTES = 1024 * 1024;
const SYNC_BYTES = 64 * 1024 * 1024;

/** Blocks that follow each other go out in one write, for most files have but a few; while one buffer is written, the
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

  /** Whether blocks at a place in the filesystem go out together with those before; else flush first. */
  continuesAt(physical: number, blocks: number): boolean {
    return physical === this.#first + this.#blocks && (this.#blocks + blocks) * BLOCK_BYTES <= CHUNK_BYTES;
  }

  /** Room for blocks at a place in the filesystem. */
  place(physical: number, blocks: number): Buffer {
    if (this.#blocks === 0) this.#first = physical;
    const start = this.#blocks * BLOCK_BYTES;
    this.#blocks += blocks;
    return this.#buffer.subarray(start, start + blocks * BLOCK_BYTES);
  }

  /** Begins to write what there is, when what was there before is written. */
  async flush(): Promise<void> {
    await this.#written;
    const full = this.#buffer.subarray(0, this.#blocks * BLOCK_BYTES);
    this.#written = writeAll(this.#handle, full, this.#offsetBytes + this.#first * BLOCK_BYTES);
    // Awaited at the next flush, before which there may be other things to wait for.
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

  /** Whoever closes the image waits until it is on disk: better that begins early. */
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
