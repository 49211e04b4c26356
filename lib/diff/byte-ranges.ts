import type { FileHandle } from 'node:fs/promises';

/** A part of a disk. Bytes. */
export interface Extent {
  readonly offsetBytes: number;
  readonly sizeBytes: number;
}

/** Where bytes differ, in whole units: the first and the number of units. */
export interface Run {
  readonly first: number;
  readonly count: number;
}

const CHUNK_BYTES = 4 * 1024 * 1024;

/** Compares the same extent of two files. What is past a file's end reads as nothing, and differs.
 *  @param unitBytes what is told apart: a sector, a block. @returns runs of units that differ, in order. */
export async function differingRuns(a: FileHandle, b: FileHandle, extent: Extent, unitBytes: number): Promise<Run[]> {
  const runs: { first: number; count: number }[] = [];
  const [bufferA, bufferB] = [Buffer.alloc(CHUNK_BYTES), Buffer.alloc(CHUNK_BYTES)];
  for (let at = 0; at < extent.sizeBytes; at += CHUNK_BYTES) {
    const length = Math.min(CHUNK_BYTES, extent.sizeBytes - at);
    const [readA, readB] = await Promise.all([
      a.read(bufferA, 0, length, extent.offsetBytes + at),
      b.read(bufferB, 0, length, extent.offsetBytes + at),
    ]);
    const partA = bufferA.subarray(0, readA.bytesRead);
    const partB = bufferB.subarray(0, readB.bytesRead);
    if (partA.equals(partB)) continue;
    for (let unit = 0; unit < length; unit += unitBytes) {
      if (partA.subarray(unit, unit + unitBytes).equals(partB.subarray(unit, unit + unitBytes))) continue;
      const number = (at + unit) / unitBytes;
      const last = runs.at(-1);
      if (last !== undefined && last.first + last.count === number) last.count += 1;
      else runs.push({ first: number, count: 1 });
    }
  }
  return runs;
}
