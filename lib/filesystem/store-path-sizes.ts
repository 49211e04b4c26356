import type { StepRunner } from '../run/step.ts';
import { roundUp } from '../units.ts';
import { pauses } from './data-runs.ts';
import { walkTree } from './tree.ts';

/** What a store path takes in an image. */
export interface StorePathSize {
  readonly path: string;
  /** Its files, each rounded up to 4096 bytes, the block size of ext4. Hard links are counted each time. */
  readonly sizeBytes: number;
  /** Files, directories and links. */
  readonly entries: number;
}

const BLOCK_BYTES = 4096;

/** Measures store paths, the largest first. */
export async function storePathSizes(
  step: StepRunner,
  store: string | undefined,
  storePaths: readonly string[],
): Promise<StorePathSize[]> {
  const pause = pauses(step);
  const sizes: StorePathSize[] = [];
  for (const path of storePaths) {
    let [sizeBytes, entries] = [0, 0];
    for (const entry of walkTree(step, { closure: { store, storePaths: [path], atRoot: true } })) {
      await pause();
      if (entry.path === '') continue;
      entries += 1;
      if (entry.type !== 'directory') sizeBytes += roundUp(entry.sizeBytes, BLOCK_BYTES);
    }
    sizes.push({ path, sizeBytes, entries });
  }
  return sizes.sort((a, b) => b.sizeBytes - a.sizeBytes || (a.path < b.path ? -1 : 1));
}
