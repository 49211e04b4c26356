import type { FileHandle } from 'node:fs/promises';

/** Reads a part of a file. Returns fewer bytes at its end. */
export async function readAt(file: FileHandle, offsetBytes: number, bytes: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(bytes);
  let done = 0;
  while (done < bytes) {
    const { bytesRead } = await file.read(buffer, done, bytes - done, offsetBytes + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return buffer.subarray(0, done);
}
