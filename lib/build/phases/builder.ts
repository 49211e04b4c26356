import { lstat } from 'node:fs/promises';
import { join } from 'node:path';
import { FAT_EPOCH } from '../../filesystem/fat.ts';
import { configuredBootDevices } from '../../nix/boot-devices.ts';
import { runStep, type StepContext } from '../../run/step.ts';
import { chownContents } from '../../steps/chown-contents.ts';
import { linkBootDevices } from '../../steps/link-boot-devices.ts';
import { mountBootFilesystem } from '../../steps/mount-boot-filesystem.ts';
import { mountRoot } from '../../steps/mount-root.ts';
import type { DiskPartition } from '../../steps/partition-disk.ts';
import { removeMachineId } from '../../steps/remove-machine-id.ts';
import { removeRandomSeed } from '../../steps/remove-random-seed.ts';
import type { StagedContents } from '../../steps/stage-contents.ts';
import { switchToConfiguration } from '../../steps/switch-to-configuration.ts';
import { unmountRoot } from '../../steps/unmount-root.ts';
import type { BuildContext } from '../context.ts';
import type { Job } from '../job.ts';
import { volumeIdOf } from './partitions.ts';

/** What is mounted below the root. A partition may be mounted below another one. */
function inOrderOfMounting(partitions: readonly DiskPartition[]): DiskPartition[] {
  return partitions
    .filter(({ mountPoint, role }) => mountPoint !== undefined && role !== 'root')
    .sort((a, b) => depth(a) - depth(b));
}

function depth({ mountPoint = '' }: DiskPartition): number {
  return mountPoint.split('/').length;
}

export async function finishInBuilder(
  job: Job,
  staged: StagedContents,
  startBuilder: NonNullable<BuildContext['startBuilder']>,
  context: StepContext,
): Promise<void> {
  const { spec, system, root: staging, raw: image, disk, rootPlace, timestamp } = job;
  const location = { toplevel: system.toplevel, store: spec.store };
  // Files that are written there may contain the date. FAT cannot store one before 1980.
  const clock = timestamp === undefined ? undefined : Math.max(timestamp, FAT_EPOCH);
  await using builder = await runStep('startBuilder', context, undefined, () =>
    startBuilder({
      ...{ image, memSizeMiB: spec.memSize, system: location, clock, signal: context.signal },
      sectorBytes: spec.sectorSize,
    }),
  );
  const inside: StepContext = { ...context, executor: builder };
  const root = '/mnt';
  const devices = await configuredBootDevices(spec.store ?? '/', system.storePaths);
  if (devices.length > 0) await linkBootDevices({ devices, disk: builder.device({ number: undefined }) }, inside);
  const inPartition = { ...rootPlace, offsetBytes: rootPlace.offsetBytes - disk.root.offsetBytes };
  const part = spec.encrypt === undefined ? undefined : inPartition;
  await mountRoot({ device: builder.device(disk.root), part, mountPoint: root, fsType: spec.fsType }, inside);
  for (const partition of inOrderOfMounting(disk.partitions)) {
    const { label, number } = partition;
    const mountPoint = `${root}${partition.mountPoint}`;
    const device = builder.device(partition);
    const fsType = job.partitions.find(({ own }) => own.number === number)?.own.filesystem;
    if (label !== undefined)
      await mountBootFilesystem({ device, mountPoint, label, volumeId: volumeIdOf(job, number) }, inside);
    else await mountRoot({ device, mountPoint, fsType }, inside);
  }
  await switchToConfiguration({ mountPoint: root }, inside);
  const owned = spec.contents.flatMap(({ user, group }, index) =>
    (staged.entries[index]?.staged ?? []).map((target) => ({ target, user, group })),
  );
  await chownContents({ mountPoint: root, contents: owned, activate: false }, inside);
  // A machine-id from contents is kept.
  const isGiven = (await lstat(join(staging, 'etc/machine-id')).catch(() => undefined)) !== undefined;
  if (!isGiven) await removeMachineId({ mountPoint: root }, inside);
  await removeRandomSeed({ mountPoint: root }, inside);
  await unmountRoot({ mountPoint: root }, inside);
  await runStep('stopBuilder', context, undefined, () => builder.stop());
}
