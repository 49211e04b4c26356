import { type FileHandle, open } from 'node:fs/promises';
import { BLOCK_BYTES } from '../formats/ext4/layout.ts';
import { writeAt } from '../host-files/write-at.ts';
import type { StepRunner } from '../run/step.ts';
import { dataRanges } from './data-runs.ts';

const CHUNK_BYTES = 1024 * 1024;
const ZEROS = Buffer.alloc(CHUNK_BYTES);

/** A place in a file; default: all of it. */
interface Source {
  readonly file: string;
  readonly offsetBytes?: number;
  readonly sizeBytes?: number;
}

/** Copies the data of a sparse file, or of a part of it, into an image at an offset. That part of the image must be zero,
 *  because holes are skipped. For filesystems whose tools do not support an offset. Runs: filefrag. */
export async function spliceSparse(
  step: StepRunner,
  { file, offsetBytes = 0, sizeBytes = Number.POSITIVE_INFINITY }: Source,
  target: { readonly image: string; readonly offsetBytes: number },
): Promise<void> {
  await using from = await open(file, 'r');
  await using to = await open(target.image, 'r+');
  const { size } = await from.stat();
  const buffer = Buffer.alloc(CHUNK_BYTES);
  const limit = Math.min(size, offsetBytes + sizeBytes);
  for (const range of (await dataRanges(step, file)) ?? [{ start: 0, end: size }]) {
    const end = Math.min(range.end, limit);
    for (let at = Math.max(range.start, offsetBytes); at < end; ) {
      const { bytesRead } = await from.read(buffer, 0, Math.min(CHUNK_BYTES, end - at), at);
      if (bytesRead === 0) break;
      await writeData(to, buffer.subarray(0, bytesRead), target.offsetBytes + at - offsetBytes);
      at += bytesRead;
    }
  }
}

/** Writes the blocks that are not zero. */
async function writeData(to: FileHandle, chunk: Buffer, at: number): Promise<void> {
  if (chunk.equals(ZEROS.subarray(0, chunk.length))) return;
  for (let start = 0; start < chunk.length; ) {
    let end = start;
    while (end < chunk.length && !isZero(chunk, end)) end += BLOCK_BYTES;
    if (end > start) await writeAt(to, at + start, chunk.subarray(start, Math.min(end, chunk.length)));
    start = end + BLOCK_BYTES;
  }
}

function isZero(chunk: Buffer, at: number): boolean {
  const block = chunk.subarray(at, at + BLOCK_BYTES);
  return block.equals(ZEROS.subarray(0, block.length));
}
