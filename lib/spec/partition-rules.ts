import { DEFAULT_COMPRESSION, PACKED_FILESYSTEMS, problemWithCompression } from '../filesystem/packed-filesystem.ts';
import { DETERMINISTIC_ROOT_GUID } from '../formats/layouts.ts';
import type { OptionIssue } from '../run/errors.ts';
import type { CrossRule } from '../run/parse-options.ts';
import { formatBytes, KIB, MIB, roundUp } from '../units.ts';
import { isAtOrBelow, partitionOf } from './layout.ts';
import {
  isPacked,
  isWritable,
  type OwnPartition,
  ownPartitions,
  type PartitionSpec,
  problemWithLabel,
  problemWithUuid,
  subvolumesIn,
} from './partitions-spec.ts';
import { problemsWithSubvolumes } from './subvolumes.ts';

interface Options {
  readonly partitions: readonly PartitionSpec[];
  readonly sectorSize: 512 | 4096;
  readonly diskSize: number | 'auto';
  readonly minimize: boolean;
  readonly onlyNixStore: boolean;
  readonly deterministic: boolean;
  readonly reproducible: boolean;
  readonly populateRootWith: string;
  readonly installBootLoader: boolean;
  readonly bootLoaderFrom: string;
  readonly encrypt: unknown;
  readonly configFile: string;
  readonly channel: string;
  readonly contents: readonly { readonly target: string }[];
}

/** Options that say the same of one of make-disk-image's layouts, and where `partitions` says it. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  partitionTableType: 'it is the layout',
  bootSize: 'set size in the boot partition',
  fsType: 'set filesystem in the partition with mountPoint "/"',
  label: 'set label in the partition with mountPoint "/"',
  rootGPUID: 'set uuid in the partition with mountPoint "/"',
  rootFSUID: 'set filesystemUuid in the partition with mountPoint "/"',
};

/** Options that contradict `partitions` however they are set. @param input as the user wrote it. */
export function givenBesidePartitions(input: unknown): OptionIssue[] {
  if (typeof input !== 'object' || input === null || !('partitions' in input) || input.partitions === undefined)
    return [];
  return Object.entries(ELSEWHERE)
    .filter(([name]) => (input as Record<string, unknown>)[name] !== undefined)
    .map(([name, where]) => ({ path: name, message: `contradicts partitions: ${where}` }));
}

/** What the user's partitions must be like, among each other and with other options. */
export const partitionsRule: CrossRule<Options> = ({ partitions: given, ...options }) => {
  if (given === undefined) return [];
  const partitions = ownPartitions(given, true);
  return [
    ...given.flatMap((spec, index) => {
      const partition = partitions[index];
      return partition === undefined ? [] : problemsOf(spec, partition, index, options);
    }),
    ...partitions.flatMap((partition, index) => problemsOfSubvolumes(given[index], partition, index, partitions)),
    ...duplicates(given, partitions),
    ...withOthers(partitions, options),
  ];
};

function problemsOf(
  spec: PartitionSpec,
  partition: OwnPartition,
  index: number,
  { sectorSize }: Partial<Options>,
): OptionIssue[] {
  const issues: OptionIssue[] = [];
  const wrong = (field: string, message: string) => issues.push({ path: `partitions[${index}].${field}`, message });
  const { filesystem, role, mountPoint, sizeBytes } = partition;
  const holdsFiles = filesystem !== 'swap' && filesystem !== 'none';
  const least = (filesystem === 'vfat' && sectorSize === 4096 ? 2 : 1) * (LEAST_BYTES[filesystem] ?? 0);
  if (sizeBytes === undefined && !holdsFiles)
    wrong('size', filesystem === 'swap' ? 'is required for swap' : 'is required without a filesystem');
  if (sizeBytes === 0) wrong('size', 'must be more than 0');
  else if (sizeBytes !== undefined && roundUp(sizeBytes, partition.alignmentBytes) < least)
    wrong('size', `is less than the ${formatBytes(least)} of the smallest ${filesystem}`);
  if (spec.additionalSpace !== undefined && (spec.size !== 'auto' || sizeBytes !== undefined))
    wrong('additionalSpace', 'has an effect only where the content decides the size');
  const { padding } = spec;
  if (padding?.maxSize !== undefined && padding.maxSize < padding.size) wrong('padding.maxSize', 'is less than size');
  if (padding?.maxSize !== undefined && padding.weight === 0 && padding.maxSize !== padding.size)
    wrong('padding.maxSize', 'has an effect only with weight');
  if (spec.maxSize !== undefined && spec.weight === undefined)
    wrong('maxSize', 'has an effect only with weight, which lets a partition grow');
  if (spec.maxSize !== undefined && sizeBytes !== undefined && spec.maxSize < sizeBytes)
    wrong('maxSize', 'is less than size');
  for (const field of ['mountPoint', 'populateFrom'] as const)
    if (spec[field] !== undefined && !holdsFiles)
      wrong(field, `contradicts filesystem "${filesystem}", which holds no files`);
  if (mountPoint !== undefined && spec.populateFrom !== undefined)
    wrong('populateFrom', 'contradicts mountPoint: files for a mounted partition come from contents');
  if (mountPoint === '/' && (filesystem === 'vfat' || !holdsFiles))
    wrong('filesystem', `"${filesystem}" cannot be the root`);
  if (mountPoint === '/' && isPacked(filesystem))
    wrong('filesystem', `"${filesystem}" cannot be the root: a system writes there; it can be /nix/store, for example`);
  if (mountPoint === '/boot' && isPacked(filesystem))
    wrong('filesystem', `"${filesystem}" cannot be /boot: each new generation is written there`);
  const { compression, compressionLevel } = spec;
  for (const [field, value] of Object.entries({ compression, compressionLevel }))
    if (value !== undefined && !isPacked(filesystem))
      wrong(field, `has an effect only on ${PACKED_FILESYSTEMS.join(' and ')}, but filesystem is "${filesystem}"`);
  if (isPacked(filesystem)) {
    const problem = problemWithCompression(
      filesystem,
      compression ?? DEFAULT_COMPRESSION[filesystem],
      compressionLevel,
    );
    if (problem !== undefined) wrong(problem.option, problem.message);
    if (mountPoint === undefined && spec.populateFrom === undefined)
      wrong('populateFrom', `is required for ${filesystem} without a mountPoint: nothing can be added later`);
    if (spec.additionalSpace !== undefined)
      wrong('additionalSpace', `has no effect on ${filesystem}, to which nothing is added`);
  }
  const unusable = spec.mountPoint === undefined ? undefined : problemWithMountPoint(spec.mountPoint);
  if (unusable !== undefined) wrong('mountPoint', unusable);
  if ((mountPoint === '/nix' || mountPoint === '/nix/store') && filesystem === 'vfat')
    wrong('filesystem', '"vfat" cannot hold a Nix store');
  if (role === 'bios-grub' && filesystem !== 'none') wrong('filesystem', 'must be "none" for type "bios-boot"');
  if ((role === 'esp' || role === 'xbootldr') && filesystem !== 'vfat')
    wrong('filesystem', `"${filesystem}" cannot be read by the firmware; a partition of type "${role}" is a FAT`);
  if (spec.label !== undefined) {
    const problem = problemWithLabel(filesystem, spec.label);
    if (problem !== undefined) wrong('label', problem);
  }
  if (spec.filesystemUuid !== undefined) {
    const problem = problemWithUuid(filesystem, spec.filesystemUuid);
    if (problem !== undefined) wrong('filesystemUuid', problem);
  }
  if (sectorSize === 4096 && filesystem === 'f2fs')
    wrong('filesystem', '"f2fs" contradicts sectorSize 4096: it is supported for ext4, btrfs and xfs');
  if (sectorSize === 4096 && role === 'xbootldr')
    wrong(
      'type',
      '"xbootldr" contradicts sectorSize 4096: systemd-boot up to version 257 finds no XBOOTLDR partition on such a disk',
    );
  if (sectorSize === 4096 && role === 'bios-grub')
    wrong('type', '"bios-boot" contradicts sectorSize 4096: only EFI starts from such a disk');
  return issues;
}

function problemsOfSubvolumes(
  spec: PartitionSpec | undefined,
  partition: OwnPartition,
  index: number,
  partitions: readonly OwnPartition[],
): OptionIssue[] {
  const { subvolumes, mountPoint, filesystem, populateFrom } = partition;
  if (spec === undefined || subvolumes.length === 0) return [];
  const own = `partitions[${index}].subvolumes`;
  if (filesystem !== 'btrfs')
    return [{ path: own, message: `contradicts filesystem "${filesystem}": only a btrfs has subvolumes` }];
  if (populateFrom !== undefined)
    return [{ path: own, message: 'contradicts populateFrom: files for a mounted subvolume come from contents' }];
  const named = subvolumesIn(partition).map(({ path, directory }) => ({ path, at: directory }));
  const top = spec.mountPoint;
  if (top !== undefined && (top !== mountPoint || subvolumes.some((one) => one.mountPoint === top)))
    return [
      {
        path: `partitions[${index}].mountPoint`,
        message: `is ${top}: the whole filesystem can only be mounted above its subvolumes, and one of them is at ${mountPoint}`,
      },
    ];
  const issues = problemsWithSubvolumes(named).map(({ index: at, field, message }) => ({
    path: `${own}[${at}].${field === 'at' ? 'mountPoint' : 'path'}`,
    message,
  }));
  for (const [at, { mountPoint: on }] of subvolumes.entries()) {
    if (on === undefined || mountPoint === undefined) continue;
    const wrong = (message: string) => issues.push({ path: `${own}[${at}].mountPoint`, message });
    const problem = problemWithMountPoint(on);
    if (problem !== undefined) wrong(problem);
    const holder = partitionOf(partitions, on);
    if (!isAtOrBelow(on, mountPoint)) wrong(`${on} is not below ${mountPoint}, on which another subvolume is mounted`);
    else if (holder !== undefined && holder !== partition) wrong(`${on} is on the partition at ${holder.mountPoint}`);
  }
  return issues;
}

/** What mkswap, mkfs.vfat, mkfs.xfs and mkfs.f2fs make at least. Measured with util-linux 2.38, dosfstools 4.2, xfsprogs 6.1 and
 *  f2fs-tools 1.15. */
const LEAST_BYTES: Readonly<Record<string, number>> = {
  swap: 40 * KIB,
  vfat: 64 * KIB,
  xfs: 300 * MIB,
  f2fs: 52 * MIB,
};

function problemWithMountPoint(at: string): string | undefined {
  if (NOT_ON_A_DISK.test(at)) return `${at} is not on a disk in a running system`;
  if (/^\/nix\/(?!store$)|^\/nix\/store\/./.test(at))
    return `${at}: below /nix, only /nix/store can be a separate filesystem`;
  return undefined;
}

/** Directories that a kernel or systemd mounts something else on. */
const NOT_ON_A_DISK = /^\/(?:proc|sys|dev|run)(?:\/|$)/;

function duplicates(given: readonly PartitionSpec[], partitions: readonly OwnPartition[]): OptionIssue[] {
  const twice = (
    field: keyof PartitionSpec,
    identifierOf: (one: OwnPartition) => string | undefined,
  ): OptionIssue[] => {
    const seen = new Map<string, number>();
    return partitions.flatMap((partition, index) => {
      const value = identifierOf(partition);
      const first = value === undefined ? undefined : seen.get(value);
      if (value !== undefined && first === undefined) seen.set(value, index);
      if (first === undefined) return [];
      return [
        {
          path: `partitions[${index}].${field}`,
          message: `${identifierOf(partition)} is that of partitions[${first}] as well${given[index]?.[field] === undefined ? '; set another one' : ''}`,
        },
      ];
    });
  };
  return [
    ...twice('mountPoint', ({ mountPoint }) => mountPoint),
    ...twice('uuid', ({ uuid }) => uuid?.toLowerCase()),
    ...twice('filesystemUuid', ({ filesystem, filesystemUuid }) =>
      filesystem === 'none' ? undefined : filesystemUuid?.toLowerCase(),
    ),
    // The system finds its filesystems by their labels.
    ...twice('label', ({ filesystem, filesystemLabel }) =>
      filesystem === 'none' || filesystemLabel === '' ? undefined : filesystemLabel,
    ),
  ];
}

function withOthers(partitions: readonly OwnPartition[], options: Partial<Options>): OptionIssue[] {
  const issues: OptionIssue[] = [];
  const contradicts = (option: string, why: string) =>
    issues.push({ path: 'partitions', message: `contradicts ${option}: ${why}` });
  const root = partitions.find(({ role }) => role === 'root');
  if (options.onlyNixStore === true) contradicts('onlyNixStore', 'such an image has no root');
  if (options.populateRootWith === 'cptofs')
    contradicts('populateRootWith "cptofs"', 'it is supported only for the layouts of make-disk-image');
  const isInVm = options.installBootLoader !== false && options.bootLoaderFrom === 'switch-to-configuration';
  for (const [index, { subvolumes }] of partitions.entries())
    if (isInVm && subvolumes.length > 0)
      issues.push({
        path: `partitions[${index}].subvolumes`,
        message: 'contradicts bootLoaderFrom "switch-to-configuration", which mounts whole filesystems; use "bootspec"',
      });
  const store = partitionOf(partitions, '/nix/store');
  if (root === undefined) issues.push(...withoutRoot(partitions, options));
  const holders = partitions.filter(({ filesystem }) => isWritable(filesystem) || isPacked(filesystem));
  if (options.reproducible === true) {
    for (const [index, { filesystem, mountPoint, populateFrom }] of partitions.entries())
      if ((mountPoint ?? populateFrom) !== undefined && isWritable(filesystem) && filesystem !== 'ext4')
        issues.push({
          path: `partitions[${index}].filesystem`,
          message: `"${filesystem}" contradicts reproducible: its tools write identifiers and times that cannot be set`,
        });
    if (
      options.installBootLoader !== false &&
      options.bootLoaderFrom === 'switch-to-configuration' &&
      holders.some(({ role }) => role !== 'root')
    )
      contradicts(
        'reproducible with bootLoaderFrom "switch-to-configuration"',
        'only a root and boot partitions are laid out again after the VM; set bootLoaderFrom "bootspec"',
      );
  }
  if (options.minimize === true && root !== undefined && store !== root)
    contradicts('minimize', 'it makes the root small, but the store is on another partition');
  if (options.minimize === true && root?.sizeBytes !== undefined)
    contradicts('minimize', 'the root has a size already');
  if (typeof options.diskSize === 'number') {
    const fixed = partitions.reduce(
      (sum, { sizeBytes = 0, alignmentBytes, padding }) =>
        sum + roundUp(sizeBytes, alignmentBytes) + roundUp(padding.leastBytes, alignmentBytes),
      MIB,
    );
    if (fixed > options.diskSize * MIB)
      issues.push({
        path: 'diskSize',
        message: `${formatBytes(options.diskSize * MIB)} is less than the sizes in partitions, which need ${formatBytes(fixed)}`,
      });
  }
  return issues;
}

/** What a system with its root in memory must be like: its store is on the disk, and all other files on mounted partitions. */
function withoutRoot(partitions: readonly OwnPartition[], options: Partial<Options>): OptionIssue[] {
  if (partitionOf(partitions, '/nix/store') === undefined)
    return [
      {
        path: 'partitions',
        message:
          'has no partition with mountPoint "/", nor one with "/nix" or "/nix/store" for a system whose root is in memory',
      },
    ];
  const { installBootLoader, bootLoaderFrom, minimize, encrypt, configFile, channel, contents = [] } = options;
  const isInVm = installBootLoader !== false && bootLoaderFrom === 'switch-to-configuration';
  const refused: readonly [boolean, string, string][] = [
    [isInVm, 'bootLoaderFrom', '"switch-to-configuration" needs a root on the disk; use "bootspec"'],
    [minimize === true, 'minimize', 'needs a root on the disk'],
    [encrypt !== undefined, 'encrypt', 'encrypts the root, and no partition has mountPoint "/"'],
    [configFile !== undefined, 'configFile', 'would be lost: /etc/nixos is on no partition'],
    [channel !== undefined, 'channel', 'would be lost: /root is on no partition'],
    ...contents.map(({ target }, index): [boolean, string, string] => [
      partitionOf(partitions, target) === undefined,
      `contents[${index}].target`,
      `would be lost: ${target} is on no partition`,
    ]),
  ];
  const hasPlace = (path: string): boolean => partitionOf(partitions, path) !== undefined;
  return refused
    .filter(([isRefused, path]) => isRefused && !(path === 'configFile' && hasPlace('/etc/nixos')))
    .filter(([, path]) => !(path === 'channel' && hasPlace('/root')))
    .map(([, path, message]) => ({ path, message }));
}

/** The options that the root partition stands for, which the layouts of make-disk-image have outside of it. */
export function ofRootPartition(partitions: readonly OwnPartition[]): {
  readonly fsType?: 'ext4' | 'btrfs' | 'xfs' | 'f2fs';
  readonly label?: string;
  readonly rootGPUID?: string;
  readonly rootFSUID?: string;
} {
  const root = partitions.find(({ role }) => role === 'root');
  if (root === undefined) return {};
  const { filesystem } = root;
  if (!isWritable(filesystem)) return {};
  return {
    fsType: filesystem,
    label: root.filesystemLabel,
    rootGPUID: root.uuid ?? DETERMINISTIC_ROOT_GUID,
    rootFSUID: root.filesystemUuid ?? DETERMINISTIC_ROOT_GUID,
  };
}
