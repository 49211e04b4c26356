import { once } from 'node:events';
import { createReadStream, createWriteStream } from 'node:fs';
import type { GuestShell } from './guest-shell.ts';

export async function fetchBytes(shell: GuestShell, path: string, timeoutMs: number): Promise<Buffer> {
  const pieces: Buffer[] = [];
  await shell.read(path, timeoutMs, (piece) => void pieces.push(piece));
  return Buffer.concat(pieces);
}

/** Into a file of this host's, so that no memory holds it.
 *  @returns how many bytes it has. */
export async function fetchFile(shell: GuestShell, path: string, target: string, timeoutMs: number): Promise<number> {
  const file = createWriteStream(target);
  await once(file, 'open');
  const size = await shell.read(path, timeoutMs, (piece) => void file.write(piece));
  await new Promise<void>((resolve, reject) => file.once('error', reject).end(() => resolve()));
  return size;
}

/** @returns how many bytes were written. */
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
