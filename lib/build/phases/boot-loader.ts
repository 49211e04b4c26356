import { FAT_EPOCH } from '../../filesystem/fat.ts';
import { readInStore } from '../../nix/store.ts';
import type { StepContext } from '../../run/step.ts';
import { installGrub } from '../../steps/install-grub.ts';
import { installSystemdBoot } from '../../steps/install-systemd-boot.ts';
import { makeBootFilesystem } from '../../steps/make-boot-filesystem.ts';
import type { Job } from '../job.ts';
import { volumeIdOf } from './partitions.ts';

/** @param isAll false where the builder VM makes those that it mounts. */
export async function formatBootPartitions(job: Job, isAll: boolean, context: StepContext): Promise<void> {
  const { raw, disk, timestamp } = job;
  for (const partition of disk.partitions) {
    const { label, number, mountPoint } = partition;
    if (label === undefined || !(isAll || mountPoint === undefined)) continue;
    const volumeId = volumeIdOf(job, number);
    await makeBootFilesystem({ image: raw, partition, label, volumeId, timestamp }, context);
  }
}

export async function installBootLoader(job: Job, context: StepContext): Promise<void> {
  const { spec, plan, raw: image, root, rootUuid, disk, system } = job;
  // As in the builder VM, the date in the menu is not before 1980, the earliest date that a FAT can store.
  const timestamp = job.timestamp === undefined ? undefined : Math.max(job.timestamp, FAT_EPOCH);
  const { bootLoaderTimeout: timeoutSeconds, timeoutStyle, editor, consoleMode, fsType } = spec;
  const common = { image, generations: [system.generation], ...system.closure, timeoutSeconds, timestamp };
  if (plan.bootLoader === 'systemd-boot' && disk.esp !== undefined)
    await installSystemdBoot(
      {
        ...common,
        ...{ esp: disk.esp, xbootldr: disk.xbootldr, editor, consoleMode },
        machineId: await stagedMachineId(root),
      },
      context,
    );
  if (plan.bootLoader === 'grub')
    await installGrub(
      {
        ...common,
        ...{ disk, firmware: plan.firmware, timeoutStyle, fsType },
        ...{ stagedRoot: root, rootUuid, rootLabel: spec.label },
      },
      context,
    );
}

/** The machine-id in the staged contents, if any. NixOS's installer writes it into systemd-boot's entries. */
async function stagedMachineId(root: string): Promise<string | undefined> {
  // Links are resolved inside the root, so that this host's machine-id is never read.
  const text = (await readInStore(root, '/etc/machine-id')) ?? '';
  return /^[0-9a-f]{32}$/.exec(text.split('\n')[0]?.trim() ?? '')?.[0];
}
