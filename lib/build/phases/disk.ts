import { rm } from 'node:fs/promises';
import { storePathSizes } from '../../filesystem/store-path-sizes.ts';
import { luksPayload } from '../../formats/luks.ts';
import { InvalidOptionsError } from '../../run/errors.ts';
import { runStep, type StepContext } from '../../run/step.ts';
import type { ImageSpec } from '../../spec/image-spec.ts';
import type { DiskSize } from '../../steps/compute-disk-size.ts';
import { createDisk } from '../../steps/create-disk.ts';
import { partitionDisk } from '../../steps/partition-disk.ts';
import { formatBytes, MIB, roundUp } from '../../units.ts';
import type { Job } from '../job.ts';
import { formatBootPartitions, installBootLoader } from './boot-loader.ts';

/** What a build knows before its disk exists. */
export type JobWithoutDisk = Omit<Job, 'disk' | 'rootPlace' | 'size'>;

/** Makes the disk of a size, with its partitions, boot filesystems and boot loader; the root is still empty. A disk that
 *  exists is replaced. */
export async function makeDisk(known: JobWithoutDisk, size: DiskSize, context: StepContext): Promise<Job> {
  const { spec, plan, raw } = known;
  const { partitionTableType, bootSize, deterministic, rootGPUID, sectorSize } = spec;
  await rm(raw, { force: true });
  await createDisk({ image: raw, sizeBytes: diskBytesOf(spec, size) }, context);
  const layout = { partitionTableType, bootSize, deterministic, rootGPUID, sectorSize };
  const disk = await partitionDisk({ image: raw, ...layout }, context);
  const { sectorBytes } = disk.root;
  const rootPlace = plan.encryption === undefined ? disk.root : { ...luksPayload(disk.root), sectorBytes };
  const job: Job = { ...known, disk, rootPlace, size };
  if (plan.bootFilesystems === 'host') await formatBootPartitions(job, context);
  await installBootLoader(job, context);
  return job;
}

function diskBytesOf({ diskSize, sizeMultiple }: ImageSpec, size: DiskSize): number {
  return diskSize === 'auto' ? roundUp(size.diskBytes, sizeMultiple) : diskSize * MIB;
}

const SHOWN_PATHS = 10;

/** Requires that the disk is not larger than `maxSize`. @throws {InvalidOptionsError} which names the largest store paths. */
export async function requireMaxSize(
  { spec, system }: Pick<Job, 'spec' | 'system'>,
  size: DiskSize,
  context: StepContext,
): Promise<void> {
  const { maxSize, store } = spec;
  const diskBytes = diskBytesOf(spec, size);
  if (maxSize === undefined || diskBytes <= maxSize) return;
  const sizes = await runStep('measureClosure', context, undefined, (step) =>
    storePathSizes(step, store, system.storePaths),
  );
  const lines = sizes.slice(0, SHOWN_PATHS).map(({ path, sizeBytes }) => `  ${formatBytes(sizeBytes)}  ${path}`);
  throw new InvalidOptionsError(
    'buildImage',
    // Two sizes may look the same when they are rounded.
    [
      {
        path: 'maxSize',
        message: `is ${formatBytes(maxSize)}, but the disk needs ${formatBytes(diskBytes)}, ${diskBytes - maxSize} bytes more`,
      },
    ],
    { hint: `the largest store paths are:\n${lines.join('\n')}` },
  );
}
