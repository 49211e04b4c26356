import type { Extent, ReadBytes } from '../formats/extent.ts';
import type { Budget } from '../inspect/budget.ts';
import { MIB } from '../units.ts';

/** A range of units with different bytes: the first unit, and the number of units. */
export interface Run {
  readonly first: number;
  readonly count: number;
}

const CHUNK_BYTES = MIB;
/** The limit of runs; the last one extends over all further differences. */
const MOST_RUNS = 1000;

/** Compares an extent of two disks. Bytes beyond the end of one disk count as different.
 *  @param unitBytes the size of a unit, such as a sector or a block. @returns runs of units that differ, in order. If
 *  there are more than a thousand, the last one extends to the last difference. */
export async function differingRuns(
  budget: Budget,
  a: ReadBytes,
  b: ReadBytes,
  extent: Extent,
  unitBytes: number,
): Promise<Run[]> {
  const runs: { first: number; count: number }[] = [];
  for (let at = 0; at < extent.sizeBytes; at += CHUNK_BYTES) {
    budget.check();
    const length = Math.min(CHUNK_BYTES, extent.sizeBytes - at);
    const [partA, partB] = await Promise.all([a(extent.offsetBytes + at, length), b(extent.offsetBytes + at, length)]);
    if (partA.length === 0 && partB.length === 0) break;
    if (partA.equals(partB)) continue;
    for (let unit = 0; unit < Math.max(partA.length, partB.length); unit += unitBytes) {
      if (partA.subarray(unit, unit + unitBytes).equals(partB.subarray(unit, unit + unitBytes))) continue;
      const number = (at + unit) / unitBytes;
      const last = runs.at(-1);
      if (last !== undefined && (last.first + last.count === number || runs.length >= MOST_RUNS))
        last.count = number + 1 - last.first;
      else runs.push({ first: number, count: 1 });
    }
  }
  return runs;
}

/** Converts runs to larger units. @param size the size of a larger unit, in units of the runs. */
export function inUnits(runs: readonly Run[], size: number): Run[] {
  const larger: { first: number; count: number }[] = [];
  for (const { first, count } of runs) {
    const [start, end] = [Math.floor(first / size), Math.ceil((first + count) / size)];
    const last = larger.at(-1);
    if (last !== undefined && start <= last.first + last.count) last.count = Math.max(last.count, end - last.first);
    else larger.push({ first: start, count: end - start });
  }
  return larger;
}
