import type { FileHandle } from 'node:fs/promises';

/** Writes all of the bytes to a place in a file. */
export async function writeAt(file: FileHandle, offsetBytes: number, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length; )
    done += (await file.write(bytes, done, bytes.length - done, offsetBytes + done)).bytesWritten;
}
