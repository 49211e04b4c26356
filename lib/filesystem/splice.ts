import { type FileHandle, open } from 'node:fs/promises';
import { BLOCK_BYTES } from '../formats/ext4/layout.ts';
import type { StepRunner } from '../run/step.ts';
import { dataRanges } from './data-runs.ts';

const CHUNK_BYTES = 1024 * 1024;
const ZEROS = Buffer.alloc(CHUNK_BYTES);

/** Copies the data of a sparse file into an image at an offset. That part of the image must be zero, because holes are
 *  skipped. For filesystems whose tools do not support an offset. Runs: filefrag. */
export async function spliceSparse(
  step: StepRunner,
  file: string,
  target: { readonly image: string; readonly offsetBytes: number },
): Promise<void> {
  await using from = await open(file, 'r');
  await using to = await open(target.image, 'r+');
  const { size } = await from.stat();
  const buffer = Buffer.alloc(CHUNK_BYTES);
  for (const { start, end } of (await dataRanges(step, file)) ?? [{ start: 0, end: size }])
    for (let at = start; at < Math.min(end, size); ) {
      const wanted = Math.min(CHUNK_BYTES, Math.min(end, size) - at);
      const { bytesRead } = await from.read(buffer, 0, wanted, at);
      if (bytesRead === 0) break;
      await writeData(to, buffer.subarray(0, bytesRead), target.offsetBytes + at);
      at += bytesRead;
    }
}

/** Writes the blocks that are not zero. */
async function writeData(to: FileHandle, chunk: Buffer, at: number): Promise<void> {
  if (chunk.equals(ZEROS.subarray(0, chunk.length))) return;
  for (let start = 0; start < chunk.length; ) {
    let end = start;
    while (end < chunk.length && !isZero(chunk, end)) end += BLOCK_BYTES;
    if (end > start) await to.write(chunk, start, Math.min(end, chunk.length) - start, at + start);
    start = end + BLOCK_BYTES;
  }
}

function isZero(chunk: Buffer, at: number): boolean {
  const block = chunk.subarray(at, at + BLOCK_BYTES);
  return block.equals(ZEROS.subarray(0, block.length));
}
