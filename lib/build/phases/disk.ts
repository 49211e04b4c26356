import { rm } from 'node:fs/promises';
import { storePathSizes } from '../../filesystem/store-path-sizes.ts';
import { DETERMINISTIC_DISK_GUID } from '../../formats/layouts.ts';
import { luksPayload } from '../../formats/luks.ts';
import { InvalidOptionsError } from '../../run/errors.ts';
import { runStep, type StepContext } from '../../run/step.ts';
import type { ImageSpec } from '../../spec/image-spec.ts';
import { systemPartition } from '../../spec/layout.ts';
import type { DiskSize } from '../../steps/compute-disk-size.ts';
import { createDisk } from '../../steps/create-disk.ts';
import { type PartitionedDisk, partitionDisk } from '../../steps/partition-disk.ts';
import { writePartitions } from '../../steps/write-partitions.ts';
import { formatBytes, MIB, roundUp } from '../../units.ts';
import type { Job } from '../job.ts';
import { formatBootPartitions, installBootLoader } from './boot-loader.ts';
import { sizesOnDisk } from './partitions.ts';

/** What a build knows before its disk exists. */
export type JobWithoutDisk = Omit<Job, 'disk' | 'rootPlace' | 'size'>;

/** Makes the disk of a size, with its partitions, boot filesystems and boot loader; the root is still empty. A disk that
 *  exists is replaced. */
export async function makeDisk(known: JobWithoutDisk, size: DiskSize, context: StepContext): Promise<Job> {
  const { spec, plan, raw } = known;
  await rm(raw, { force: true });
  const sizeBytes = diskBytesOf(spec, size);
  await createDisk({ image: raw, sizeBytes }, context);
  const disk = await writeLayout(known, size, raw, sizeBytes, context);
  const { sectorBytes } = disk.root;
  const rootPlace = plan.encryption === undefined ? disk.root : { ...luksPayload(disk.root), sectorBytes };
  const job: Job = { ...known, disk, rootPlace, size };
  await formatBootPartitions(job, plan.bootFilesystems === 'host', context);
  await installBootLoader(job, context);
  return job;
}

/** Writes the partition table of the layout, or of the user's partitions. */
export async function writeLayout(
  { spec, partitions: own, plan }: Pick<Job, 'spec' | 'partitions' | 'plan'>,
  size: DiskSize,
  image: string,
  diskBytes: number,
  context: StepContext,
): Promise<PartitionedDisk> {
  const { partitionTableType, bootSize, deterministic, rootGPUID, sectorSize } = spec;
  if (own.length === 0)
    return partitionDisk({ image, partitionTableType, bootSize, deterministic, rootGPUID, sectorSize }, context);
  const sizes = sizesOnDisk(diskBytes, size, own, plan.encryption !== undefined, sectorSize);
  const partitions = own.map(({ own: { type, name, uuid, attributes, mountPoint, label, alignmentBytes } }, index) => ({
    ...{ type, name, uuid, attributes: [...attributes], mountPoint, label },
    ...{ size: sizes[index]?.sizeBytes, padding: sizes[index]?.paddingBytes, alignment: alignmentBytes },
  }));
  const diskId = deterministic ? DETERMINISTIC_DISK_GUID : undefined;
  const { root, ...disk } = await writePartitions({ image, partitions, diskId, sectorSize }, context);
  // With a root in memory, the partition with the store.
  const number = systemPartition(own.map((one) => one.own))?.number;
  const system = root ?? disk.partitions.find((one) => one.number === number);
  if (system === undefined) throw new RangeError('there is no partition for the system');
  return { ...disk, root: system };
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
