import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { makeSparseFile } from '../../host-files/sparse-file.ts';
import { ImageTooSmallError } from '../../run/errors.ts';
import { runStep, type StepContext } from '../../run/step.ts';
import type { DiskSize } from '../../steps/compute-disk-size.ts';
import { type MadeFilesystem, makeFilesystem } from '../../steps/make-filesystem.ts';
import { MIB, roundUp } from '../../units.ts';
import type { Job } from '../job.ts';
import { inodesFor } from './root.ts';

/** Room for the boot loader's files in the first, larger filesystem: kernels and initrds, where /boot is on the root. */
export const ROOM_TO_MEASURE = 512 * MIB;

/** Makes the root filesystem as small as its content allows: what it takes is measured in a larger one, which has just
 *  been filled; then it is filled again.
 *  @param refill makes the disk again with this size, and fills it. */
export async function minimizeRoot<T>(
  job: Job,
  filled: Pick<MadeFilesystem, 'freeBytes'>,
  directory: string,
  context: StepContext,
  refill: (size: DiskSize) => Promise<T>,
): Promise<T> {
  const least = await leastSize(job, filled, directory, context);
  for (let moreBytes = 0; ; moreBytes += MIB)
    try {
      return await refill({
        ...least,
        fudgeBytes: least.fudgeBytes + moreBytes,
        filesystemBytes: least.filesystemBytes + moreBytes,
        diskBytes: least.diskBytes + moreBytes,
      });
    } catch (error) {
      // Blocks at other places may need a few more blocks to describe them.
      if (!(error instanceof ImageTooSmallError) || moreBytes === MOST_CORRECTION) throw error;
    }
}

const MOST_CORRECTION = 4 * MIB;

/** The size of the disk with the smallest ext4 that has room for the content and `additionalSpace`, in steps of a MiB. How
 *  much room an empty one has is asked of mkfs.ext4. */
function leastSize(
  job: Job,
  filled: Pick<MadeFilesystem, 'freeBytes'>,
  directory: string,
  context: StepContext,
): Promise<DiskSize> {
  const { size: first, rootPlace, spec } = job;
  const { additionalSpace: additionalBytes, fsType, sizeMultiple } = spec;
  return runStep('computeDiskSize', context, 'minimize', async () => {
    const image = join(directory, 'empty.img');
    await makeSparseFile(image, rootPlace.sizeBytes);
    const freeIn = async (sizeBytes: number, size: DiskSize): Promise<number> => {
      const partition = { offsetBytes: 0, sizeBytes };
      const made = await makeFilesystem(
        { image, partition, fsType, inodeCount: inodesFor(size, sizeBytes) },
        { ...context, onEvent: undefined },
      );
      return made.freeBytes ?? 0;
    };
    const usageBytes = (await freeIn(rootPlace.sizeBytes, first)) - (filled.freeBytes ?? 0);
    const content = { ...first, usageBytes, additionalBytes, shortfallBytes: 0 };
    let sizeBytes = rootPlace.sizeBytes;
    const spare = async (): Promise<number> => (await freeIn(sizeBytes, content)) - usageBytes - additionalBytes;
    for (let left = await spare(); left >= MIB; left = await spare()) sizeBytes -= Math.floor(left / MIB) * MIB;
    while ((await spare()) < 0) sizeBytes += MIB;
    await rm(image);
    return {
      ...content,
      fudgeBytes: sizeBytes - usageBytes - additionalBytes,
      filesystemBytes: sizeBytes,
      diskBytes: roundUp(first.diskBytes, sizeMultiple) - (rootPlace.sizeBytes - sizeBytes),
      inodeCount: inodesFor(content, sizeBytes),
    };
  });
}
