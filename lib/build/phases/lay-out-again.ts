import { lstatSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { StepContext } from '../../run/step.ts';
import { copyBootCode } from '../../steps/copy-boot-code.ts';
import { createDisk } from '../../steps/create-disk.ts';
import { extractFilesystem } from '../../steps/extract-filesystem.ts';
import { fillBootFilesystem } from '../../steps/fill-boot-filesystem.ts';
import { makeBootFilesystem } from '../../steps/make-boot-filesystem.ts';
import { type MadeFilesystem, makeFilesystem } from '../../steps/make-filesystem.ts';
import type { Job } from '../job.ts';
import { writeLayout } from './disk.ts';
import { fillPartitions, volumeIdOf } from './partitions.ts';
import { inodesFor } from './root.ts';

/** Writes the result of the builder VM to a new disk, to make it reproducible: in the VM, a kernel wrote it in an
 *  unpredictable order and with the current time. All files except the store paths are extracted from the first
 *  disk. */
export async function layOutAgain(
  job: Job,
  image: string,
  work: string,
  context: StepContext,
): Promise<MadeFilesystem> {
  const { spec, root, raw, disk, rootPlace, system, rootUuid, timestamp, size, closure } = job;
  const { label } = spec;
  const sizeBytes = (await stat(raw)).size;
  await createDisk({ image, sizeBytes }, context);
  await writeLayout(job, size, image, sizeBytes, context);
  await copyBootCode({ from: raw, to: image, disk }, context);
  for (const partition of disk.partitions) {
    if (partition.label === undefined) continue;
    const directory = join(work, `partition-${partition.number}`);
    const entries = await extractFilesystem({ image: raw, partition, fsType: 'vfat', directory }, context);
    const volumeId = volumeIdOf(job, partition.number);
    await makeBootFilesystem({ image, partition, label: partition.label, volumeId, timestamp }, context);
    await fillBootFilesystem({ image, partition, files: entries, timestamp }, context);
  }
  // Swap; a specification with other filesystems is refused.
  await fillPartitions(
    { ...job, partitions: job.partitions.filter(({ own }) => own.filesystem === 'swap') },
    image,
    [],
    context,
  );
  const directory = join(work, 'taken-out');
  const leaveOut = system.storePaths;
  const entries = await extractFilesystem(
    { image: raw, partition: rootPlace, fsType: 'ext4', directory, leaveOut },
    context,
  );
  const files = entries.filter(({ path }) => !VOLATILE.test(path) || isStaged(root, path));
  const filled = { inodeCount: inodesFor(size, rootPlace.sizeBytes), dataBlocks: size.dataBlocks };
  const hashSeed = spec.rootFSHashSeed ?? spec.rootFSUID;
  const identity = { label, uuid: rootUuid, hashSeed, size: filled };
  return makeFilesystem({ image, partition: rootPlace, ...identity, files, closure, timestamp }, context);
}

/** Files here are leftovers of the VM's run, unless they were staged. */
const VOLATILE = /^(?:run|tmp)\//;

/** @param path its bytes, decoded as latin1. */
function isStaged(root: string, path: string): boolean {
  const staged = Buffer.concat([Buffer.from(`${root}/`), Buffer.from(path, 'latin1')]);
  return lstatSync(staged, { throwIfNoEntry: false }) !== undefined;
}
