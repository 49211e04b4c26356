import { deterministicVolumeId, PARTITION_LAYOUTS } from '../../formats/layouts.ts';
import type { StepContext } from '../../run/step.ts';
import { installGrub } from '../../steps/install-grub.ts';
import { installSystemdBoot } from '../../steps/install-systemd-boot.ts';
import { makeBootFilesystem } from '../../steps/make-boot-filesystem.ts';
import type { Job } from '../job.ts';

export async function formatBootPartitions({ spec, raw, disk, timestamp }: Job, context: StepContext): Promise<void> {
  for (const partition of disk.partitions) {
    const { label, number } = partition;
    if (label === undefined) continue;
    const volumeId = spec.deterministic ? deterministicVolumeId(number) : undefined;
    await makeBootFilesystem({ image: raw, partition, label, volumeId, timestamp }, context);
  }
}

export async function installBootLoader(job: Job, context: StepContext): Promise<void> {
  const { spec, plan, raw: image, root, rootUuid, disk, timestamp, system } = job;
  const generations = [system.generation];
  const timeoutSeconds = spec.bootLoaderTimeout;
  if (plan.bootLoader === 'systemd-boot' && disk.esp !== undefined)
    await installSystemdBoot(
      { image, esp: disk.esp, xbootldr: disk.xbootldr, generations, ...system.closure, timeoutSeconds, timestamp },
      context,
    );
  if (plan.bootLoader !== 'grub') return;
  const { bios, efi } = PARTITION_LAYOUTS[spec.partitionTableType];
  const firmware = [...(bios ? (['bios'] as const) : []), ...(efi ? (['efi'] as const) : [])];
  await installGrub(
    {
      image,
      disk,
      firmware,
      stagedRoot: root,
      rootUuid,
      fsType: spec.fsType,
      generations,
      ...system.closure,
      timeoutSeconds,
      timestamp,
    },
    context,
  );
}
