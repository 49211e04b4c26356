import { gptTypeName } from '../formats/partition-table/types.ts';
import { type Mount, readMounts, splitLink } from '../nix/fstab.ts';
import { resolveStorePath } from '../nix/store.ts';
import { InvalidOptionsError, type OptionIssue } from '../run/errors.ts';
import type { ImageSpec } from '../spec/image-spec.ts';
import { partitionOf } from '../spec/layout.ts';
import type { OwnPartition } from '../spec/partitions-spec.ts';
import type { BuildPlan } from './plan.ts';

const STEP = 'buildImage';

/** Types that systemd mounts without a line in fstab. @see systemd-gpt-auto-generator(8) */
const DISCOVERED = /^(?:root|usr)-|^(?:home|srv|var|tmp|esp|xbootldr|swap)$/;

/** Checks that the system finds the user's own partitions where it mounts them, and that its boot loader can be installed there.
 *  @throws {InvalidOptionsError} with all problems at once. */
export async function checkMounts(spec: ImageSpec, bootLoader: BuildPlan['bootLoader']): Promise<void> {
  const { partitions } = spec;
  if (partitions === undefined) return;
  const toplevel = await resolveStorePath(STEP, spec.toplevel, 'toplevel', spec.store);
  const mounts = await readMounts(spec.store ?? '/', toplevel);
  const issues = [...withoutBoot(partitions, bootLoader)];
  // Without a line for the root, what else is mounted is not known either.
  if (mounts.some(({ mountPoint }) => mountPoint === '/'))
    for (const partition of partitions) issues.push(...wherePartitionIsMissed(partition, mounts, spec));
  if (issues.length > 0)
    throw new InvalidOptionsError(STEP, issues, {
      hint: `the system mounts what its fileSystems and swapDevices say: ${toplevel}/etc/fstab`,
    });
}

/** GRUB reads its menu and kernels from one filesystem, which this project writes only on a FAT or in the root. */
function withoutBoot(partitions: readonly OwnPartition[], bootLoader: BuildPlan['bootLoader']): OptionIssue[] {
  if (bootLoader !== 'grub') return [];
  const boot = partitionOf(partitions, '/boot');
  const store = partitionOf(partitions, '/nix/store');
  if (boot === undefined || boot.filesystem === 'vfat') return [];
  if (boot.role !== 'root')
    return [
      {
        path: `partitions[${boot.number - 1}].filesystem`,
        message: `"${boot.filesystem}": with bootLoaderFrom "bootspec", GRUB is installed on a /boot that is a "vfat", or part of the root`,
      },
    ];
  if (store?.role === 'root') return [];
  return [
    {
      path: 'partitions',
      message: `needs a partition with mountPoint "/boot" and filesystem "vfat" for GRUB, because ${store?.mountPoint} is a separate partition`,
    },
  ];
}

function wherePartitionIsMissed(partition: OwnPartition, mounts: readonly Mount[], spec: ImageSpec): OptionIssue[] {
  const { number, mountPoint, filesystem, type } = partition;
  const wrong = (field: string, message: string): OptionIssue => ({
    path: `partitions[${number - 1}].${field}`,
    message,
  });
  if (filesystem === 'swap') {
    const swaps = mounts.filter((mount) => mount.type === 'swap');
    const links = swaps.map(({ device }) => splitLink(device));
    if (links.length === 0 || links.some((link) => link === undefined)) return [];
    const isFound = links.some((link) => link !== undefined && isNamed(partition, link));
    return isFound || DISCOVERED.test(gptTypeName(type) ?? '')
      ? []
      : [
          wrong(
            'label',
            `"${partition.filesystemLabel}" is not a swap of the system, which uses ${swaps.map(({ device }) => device).join(', ')}`,
          ),
        ];
  }
  if (mountPoint === undefined) return [];
  const mount = mounts.find((one) => one.mountPoint === mountPoint);
  if (mount === undefined)
    return DISCOVERED.test(gptTypeName(type) ?? '')
      ? []
      : [wrong('mountPoint', `the system mounts nothing at ${mountPoint}: it has no fileSystems."${mountPoint}"`)];
  // What is mounted of an encrypted root is checked with encrypt.
  if (partition.role === 'root' && spec.encrypt !== undefined) return [];
  const issues: OptionIssue[] = [];
  if (mount.type !== 'auto' && mount.type !== filesystem)
    issues.push(wrong('filesystem', `is "${filesystem}", but the system mounts "${mount.type}" at ${mountPoint}`));
  const link = splitLink(mount.device);
  if (link === undefined || isNamed(partition, link)) return issues;
  const { field, value } = identifier(partition, link.kind);
  issues.push(
    wrong(
      field,
      `is ${value === undefined ? 'random' : `"${value}"`}, but the system mounts ${mount.device} at ${mountPoint}`,
    ),
  );
  return issues;
}

type Kind = NonNullable<ReturnType<typeof splitLink>>['kind'];

/** What a link of udev names a partition by. */
function identifier(
  { filesystem, filesystemLabel, filesystemUuid, name, uuid }: OwnPartition,
  kind: Kind,
): { readonly field: string; readonly value: string | undefined } {
  if (kind === 'label') return { field: 'label', value: filesystemLabel };
  if (kind === 'partlabel') return { field: 'name', value: name };
  if (kind === 'partuuid') return { field: 'uuid', value: uuid };
  const isFat = filesystem === 'vfat' && filesystemUuid !== undefined;
  return {
    field: 'filesystemUuid',
    value: isFat ? filesystemUuid.toUpperCase().replace(/^(.{4})(.{4})$/, '$1-$2') : filesystemUuid,
  };
}

function isNamed(partition: OwnPartition, { kind, value }: { readonly kind: Kind; readonly value: string }): boolean {
  const own = identifier(partition, kind).value;
  return kind === 'label' || kind === 'partlabel' ? own === value : own?.toLowerCase() === value.toLowerCase();
}
