import { readSync, writeSync } from 'node:fs';

/** A part of a file, such as a partition of an image, with offsets relative to its start. */
export class Region {
  readonly handle: number;
  readonly offsetBytes: number;

  /** @param handle a file descriptor, which the caller closes. */
  constructor(handle: number, offsetBytes: number) {
    this.handle = handle;
    this.offsetBytes = offsetBytes;
  }

  /** @throws {RangeError} when the file is too short. */
  read(at: number, length: number): Buffer {
    const bytes = Buffer.alloc(length);
    this.readInto(at, bytes);
    return bytes;
  }

  /** Fills a buffer. @throws {RangeError} when the file is too short. */
  readInto(at: number, bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length; ) {
      const count = readSync(this.handle, bytes, done, bytes.length - done, this.offsetBytes + at + done);
      if (count === 0) throw new RangeError(`the image ends before byte ${this.offsetBytes + at + bytes.length}`);
      done += count;
    }
  }

  write(at: number, bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length; )
      done += writeSync(this.handle, bytes, done, bytes.length - done, this.offsetBytes + at + done);
  }
}
