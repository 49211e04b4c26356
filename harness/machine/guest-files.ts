import { once } from 'node:events';
import { createReadStream, createWriteStream } from 'node:fs';
import type { GuestShell } from './guest-shell.ts';

/** Copies a file from the guest into memory. */
export async function fetchBytes(shell: GuestShell, path: string, timeoutMs: number): Promise<Buffer> {
  const pieces: Buffer[] = [];
  await shell.read(path, timeoutMs, (piece) => void pieces.push(piece));
  return Buffer.concat(pieces);
}

/** Copies a file from the guest to a file on this host, in pieces.
 *  @returns its size in bytes. */
export async function fetchFile(shell: GuestShell, path: string, target: string, timeoutMs: number): Promise<number> {
  const file = createWriteStream(target);
  await once(file, 'open');
  const size = await shell.read(path, timeoutMs, (piece) => void file.write(piece));
  await new Promise<void>((resolve, reject) => file.once('error', reject).end(() => resolve()));
  return size;
}

/** Copies bytes, or a file on this host, to a file in the guest.
 *  @returns the number of bytes written. */
export async function sendFile(
  shell: GuestShell,
  source: Uint8Array | string | { readonly file: string },
  path: string,
  timeoutMs: number,
): Promise<number> {
  const contents =
    typeof source === 'object' && 'file' in source ? createReadStream(source.file) : [Buffer.from(source)];
  return shell.write(path, contents as AsyncIterable<Buffer>, timeoutMs);
}
