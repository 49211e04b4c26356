import { gptTypeName } from '../formats/partition-table/types.ts';
import { type DiskLink, type Mount, readMounts, splitLink, udevName } from '../nix/fstab.ts';
import { readInStore, resolveStorePath } from '../nix/store.ts';
import { InvalidOptionsError, type OptionIssue } from '../run/errors.ts';
import type { ImageSpec } from '../spec/image-spec.ts';
import { partitionOf } from '../spec/layout.ts';
import type { OwnPartition } from '../spec/partitions-spec.ts';
import type { BuildPlan } from './plan.ts';

const STEP = 'buildImage';

/** The bit of partitions that systemd does not mount by itself. */
const NO_AUTO = 63;

/** Where systemd mounts a partition of a type without a line in fstab. /var is not among them: its partition must have a UUID
 *  that depends on the machine-id. @see systemd-gpt-auto-generator(8) */
function isDiscovered({ type, mountPoint, attributes }: OwnPartition, architecture: string | undefined): boolean {
  const name = gptTypeName(type) ?? '';
  if (attributes.includes(NO_AUTO)) return false;
  const [, tree, of] = /^(root|usr)-(x86-64|x86|arm64|arm)$/.exec(name) ?? [];
  if (tree !== undefined)
    return mountPoint === (tree === 'root' ? '/' : '/usr') && (architecture === undefined || of === architecture);
  return (DISCOVERED[name] ?? []).includes(mountPoint);
}

const DISCOVERED: Readonly<Record<string, readonly (string | undefined)[]>> = {
  ...{ home: ['/home'], srv: ['/srv'], tmp: ['/var/tmp'], swap: [undefined] },
  ...{ esp: ['/efi', '/boot'], xbootldr: ['/boot'] },
};

/** The architecture of a Nix system as partition types name it. */
const ARCHITECTURES: Readonly<Record<string, string>> = {
  ...{ 'x86_64-linux': 'x86-64', 'i686-linux': 'x86', 'aarch64-linux': 'arm64', 'armv7l-linux': 'arm' },
};

/** Checks that the system finds the user's own partitions where it mounts them, and that its boot loader can be installed there.
 *  @throws {InvalidOptionsError} with all problems at once. */
export async function checkMounts(spec: ImageSpec, bootLoader: BuildPlan['bootLoader']): Promise<void> {
  const { partitions } = spec;
  if (partitions === undefined) return;
  const toplevel = await resolveStorePath(STEP, spec.toplevel, 'toplevel', spec.store);
  const mounts = await readMounts(spec.store ?? '/', toplevel);
  const system = (await readInStore(spec.store ?? '/', `${toplevel}/system`)) ?? '';
  const issues = [...withoutBoot(partitions, bootLoader), ...withoutRoot(partitions, mounts)];
  // Without a line for the root, what else is mounted is not known either.
  if (mounts.some(({ mountPoint }) => mountPoint === '/'))
    for (const partition of partitions) {
      issues.push(...wherePartitionIsMissed(partition, mounts, spec, ARCHITECTURES[system.trim()]));
      issues.push(...whereSubvolumesAreMissed(partition, mounts));
    }
  if (issues.length > 0)
    throw new InvalidOptionsError(STEP, issues, {
      hint: `the system mounts what its fileSystems and swapDevices say: ${toplevel}/etc/fstab`,
    });
}

const IN_MEMORY = ['tmpfs', 'ramfs'];

/** Only a system whose root is in memory needs none on the disk. */
function withoutRoot(partitions: readonly OwnPartition[], mounts: readonly Mount[]): OptionIssue[] {
  if (partitions.some(({ role }) => role === 'root')) return [];
  const root = mounts.find(({ mountPoint }) => mountPoint === '/');
  if (root !== undefined && IN_MEMORY.includes(root.type)) return [];
  const found = root === undefined ? 'which has no fileSystems."/"' : `which mounts ${root.device} (${root.type}) at /`;
  return [
    {
      path: 'partitions',
      message: `has no partition with mountPoint "/", but the root of the system is not in memory: its fstab, ${found}`,
    },
  ];
}

/** GRUB reads its menu and kernels from one filesystem, which this project writes only on a FAT or in the root. */
function withoutBoot(partitions: readonly OwnPartition[], bootLoader: BuildPlan['bootLoader']): OptionIssue[] {
  if (bootLoader !== 'grub') return [];
  const boot = partitionOf(partitions, '/boot');
  const store = partitionOf(partitions, '/nix/store');
  const needsBoot = (why: string): OptionIssue[] => [
    {
      path: 'partitions',
      message: `needs a partition with mountPoint "/boot" and filesystem "vfat" for GRUB, because ${why}`,
    },
  ];
  if (boot === undefined) return needsBoot('the root is in memory');
  if (boot.filesystem === 'vfat') return [];
  if (boot.subvolumes.length > 0) return needsBoot('the root has subvolumes');
  if (boot.role !== 'root')
    return [
      {
        path: `partitions[${boot.number - 1}].filesystem`,
        message: `"${boot.filesystem}": with bootLoaderFrom "bootspec", GRUB is installed on a /boot that is a "vfat", or part of the root`,
      },
    ];
  if (store?.role === 'root') return [];
  return needsBoot(`${store?.mountPoint} is a separate partition`);
}

function wherePartitionIsMissed(
  partition: OwnPartition,
  mounts: readonly Mount[],
  { encrypt, partitions = [] }: ImageSpec,
  architecture: string | undefined,
): OptionIssue[] {
  const { number, mountPoint, filesystem } = partition;
  const wrong = (field: string, message: string): OptionIssue => ({
    path: `partitions[${number - 1}].${field}`,
    message,
  });
  if (filesystem === 'swap') {
    const swaps = mounts.filter((mount) => mount.type === 'swap');
    const links = swaps.map(({ device }) => splitLink(device));
    if (links.length === 0 || links.some((link) => link === undefined)) return [];
    const isFound = links.some((link) => isLinkTo(partition, link));
    return isFound || isDiscovered(partition, architecture)
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
  const elsewhere = mounts.find((one) => isLinkTo(partition, splitLink(one.device)));
  if (mount === undefined && elsewhere !== undefined)
    return [wrong('mountPoint', `is ${mountPoint}, but the system mounts this partition at ${elsewhere.mountPoint}`)];
  if (mount === undefined)
    return isDiscovered(partition, architecture)
      ? []
      : [wrong('mountPoint', `the system mounts nothing at ${mountPoint}: it has no fileSystems."${mountPoint}"`)];
  // What is mounted of an encrypted root is checked with encrypt.
  if (partition.role === 'root' && encrypt !== undefined) return [];
  const issues: OptionIssue[] = [];
  if (mount.type !== 'auto' && mount.type !== filesystem)
    issues.push(wrong('filesystem', `is "${filesystem}", but the system mounts "${mount.type}" at ${mountPoint}`));
  const link = splitLink(mount.device);
  const others = partitions.filter((one) => one !== partition && isLinkTo(one, link));
  if (link?.kind === 'partlabel' && isLinkTo(partition, link) && others.length > 0)
    issues.push(
      wrong('name', `"${partition.name}" is that of another partition as well, and the system mounts ${mount.device}`),
    );
  if (link === undefined || isLinkTo(partition, link)) return issues;
  const { field, value } = identifier(partition, link.kind);
  const isThere = filesystem !== 'squashfs' || link.kind.startsWith('part');
  issues.push(
    wrong(
      field,
      `is ${!isThere ? 'not in a squashfs' : value === undefined ? 'random' : `"${value}"`}, but the system mounts ${mount.device} at ${mountPoint}`,
    ),
  );
  return issues;
}

/** The subvolumes that a system mounts must be those of the partition, and the other way round. */
function whereSubvolumesAreMissed(partition: OwnPartition, mounts: readonly Mount[]): OptionIssue[] {
  const { number, filesystem, mountPoint: highest, subvolumes } = partition;
  if (filesystem !== 'btrfs' || highest === undefined) return [];
  const own = `partitions[${number - 1}].subvolumes`;
  const issues: OptionIssue[] = [];
  const wrong = (path: string, message: string) => issues.push({ path: `${own}${path}`, message });
  // An encrypted root has no such link.
  const device = mounts.find(({ mountPoint }) => mountPoint === highest)?.device;
  const isOnIt = (mount: Mount): boolean => mount.device === device || isLinkTo(partition, splitLink(mount.device));
  for (const [index, { path, mountPoint }] of subvolumes.entries()) {
    if (mountPoint === undefined) continue;
    const mount = mounts.find((one) => one.mountPoint === mountPoint);
    const subvolume = mount === undefined ? undefined : mountedSubvolume(mount);
    if (mount === undefined) {
      // Whether the highest is mounted is checked with the partition.
      if (mountPoint !== highest)
        wrong(
          `[${index}].mountPoint`,
          `the system mounts nothing at ${mountPoint}: it has no fileSystems."${mountPoint}"`,
        );
    } else if (!isOnIt(mount) && splitLink(mount.device) !== undefined)
      wrong(`[${index}].mountPoint`, `is ${mountPoint}, where the system mounts ${mount.device}, another filesystem`);
    else if (subvolume?.path !== path)
      wrong(
        `[${index}].path`,
        `is "${path}", but the system mounts ${subvolume?.option ?? 'the whole filesystem'} at ${mountPoint}`,
      );
  }
  for (const mount of mounts.filter((one) => one.type !== 'swap' && isOnIt(one))) {
    const subvolume = mountedSubvolume(mount);
    if (subvolume !== undefined && !subvolumes.some(({ mountPoint }) => mountPoint === mount.mountPoint))
      wrong('', `the system mounts ${subvolume.option} at ${mount.mountPoint}, but none of them has this mountPoint`);
  }
  return issues;
}

/** The subvolume that an option names; undefined for the whole filesystem. An ID has no
 *  path, because it is unknown before the filesystem is made. @see btrfs(5), "Mount options" */
function mountedSubvolume({
  options,
}: Mount): { readonly option: string; readonly path: string | undefined } | undefined {
  // The kernel takes the last one.
  const option = options.filter((one) => /^subvol(?:id)?=/.test(one)).at(-1);
  const path = option === undefined ? '' : option.replace(/^subvol=/, '').replace(/^\/+|\/+$/g, '');
  if (option === undefined || path === '' || option === 'subvolid=5') return undefined;
  return { option, path: option.startsWith('subvolid') ? undefined : path };
}

/** What a link of udev names a partition by. */
function identifier(
  { filesystem, filesystemLabel, filesystemUuid, name, uuid }: OwnPartition,
  kind: DiskLink['kind'],
): { readonly field: string; readonly value: string | undefined } {
  if (kind === 'label') return { field: 'label', value: filesystemLabel === '' ? undefined : filesystemLabel };
  if (kind === 'partlabel') return { field: 'name', value: name };
  if (kind === 'partuuid') return { field: 'uuid', value: uuid?.toLowerCase() };
  const isFat = filesystem === 'vfat' && filesystemUuid !== undefined;
  return {
    field: 'filesystemUuid',
    value: isFat ? filesystemUuid.toUpperCase().replace(/^(.{4})(.{4})$/, '$1-$2') : filesystemUuid?.toLowerCase(),
  };
}

/** Whether udev makes this link for a partition. */
function isLinkTo(partition: OwnPartition, link: DiskLink | undefined): boolean {
  if (link === undefined) return false;
  const { value } = identifier(partition, link.kind);
  return value !== undefined && udevName(value) === link.link;
}
