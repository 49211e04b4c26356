import { gptTypeName } from '../formats/partition-table/types.ts';
import { InvalidOptionsError } from '../run/errors.ts';
import { type BootLoader, type ImageSpec, type ImageSpecInput, parseImageSpec } from '../spec/image-spec.ts';
import { layoutOf } from '../spec/layout.ts';
import type { OwnPartition } from '../spec/partitions-spec.ts';
import { formatBytes } from '../units.ts';
import { chooseBootLoader } from './choose-boot-loader.ts';
import { type EncryptionPlan, planEncryption } from './encryption.ts';
import { checkMounts } from './mounts.ts';
import { planSecureBoot, type SecureBootPlan } from './secure-boot.ts';

/** How each phase of a build is done. buildImage follows it, and `build --explain` prints it. */
export interface BuildPlan {
  /** Whether store paths are first copied to the staged root, or written into the filesystem directly from the
   *  store. */
  readonly closure: 'copied' | 'in place';
  /** The loader that this host installs from boot.json; or the system's own program in the builder VM; or none. */
  readonly bootLoader: BootLoader | 'switch-to-configuration' | 'none';
  /** The firmware for which GRUB is installed from boot.json; empty for other loaders. */
  readonly firmware: readonly ('bios' | 'efi')[];
  /** Whether the FAT filesystems are made at their offsets on this host, or in the builder VM. */
  readonly bootFilesystems: 'host' | 'builder' | 'none';
  /** How user names in `contents` are resolved: from the system's declarations, or in the activated system. */
  readonly owners: 'declared' | 'activated' | 'none';
  readonly needsBuilder: boolean;
  /** How boot programs are signed; undefined when they are not. */
  readonly secureBoot: SecureBootPlan | undefined;
  /** How the root is encrypted; undefined when it is not. */
  readonly encryption: EncryptionPlan | undefined;
  /** Descriptions of the phases for people, in order. */
  readonly phases: readonly BuildPhase[];
}

export interface BuildPhase {
  readonly phase: string;
  readonly way: string;
  readonly why: string;
}

/** Decides how each phase of a build is done. It reads the system, and changes nothing.
 *  @throws {InvalidOptionsError} for an invalid specification, and when the system's boot loader cannot be determined
 *  and none is named. */
export async function planBuild(options: ImageSpecInput | ImageSpec): Promise<BuildPlan> {
  const spec = parseImageSpec(options);
  const layout = layoutOf(spec);
  const inVm = spec.installBootLoader && spec.bootLoaderFrom === 'switch-to-configuration';
  const closure = spec.populateRootWith === 'cptofs' ? 'copied' : 'in place';
  const loader = await chooseBootLoader(spec);
  const secureBoot = await planSecureBoot(spec);
  const encryption = await planEncryption(spec);
  await checkMounts(spec, loader.bootLoader);
  if (
    secureBoot !== undefined &&
    loader.bootLoader !== 'systemd-boot' &&
    loader.bootLoader !== 'switch-to-configuration'
  )
    throw new InvalidOptionsError('buildImage', [
      { path: 'secureBoot', message: `needs systemd-boot, and the boot loader of the system is ${loader.bootLoader}` },
    ]);
  const hasFat = layout.partitions.some(({ label }) => label !== undefined);
  const bootFilesystems = !hasFat ? 'none' : inVm ? 'builder' : 'host';
  const named = spec.contents.some(({ user }) => user !== undefined);
  const owners = !named ? 'none' : inVm ? 'activated' : 'declared';
  const vm = 'builder VM';
  const phases: BuildPhase[] = [
    closure === 'in place'
      ? {
          phase: 'closure',
          way: 'from the store into the filesystem, in one pass',
          why: 'populateRootWith "mke2fs": files are read directly from the store',
        }
      : { phase: 'closure', way: 'copied to a staged root first', why: 'populateRootWith "cptofs" copies directories' },
    ...(spec.partitions ?? []).map((one) => ({
      phase: `partition ${one.number}`,
      way: drawn(one),
      why: `partitions[${one.number - 1}], type ${gptTypeName(one.type) ?? one.type}`,
    })),
    spec.partitions?.some(({ role }) => role === 'root') === false
      ? { phase: 'root filesystem', way: 'in memory, by the system', why: 'no partition has mountPoint "/"' }
      : {
          phase: 'root filesystem',
          way: spec.populateRootWith === 'cptofs' ? 'mkfs at its offset, then cptofs' : ROOT_WAYS[spec.fsType],
          why: `fsType "${spec.fsType}"`,
        },
    ...(spec.minimize
      ? [
          {
            phase: 'size',
            way: 'the root filesystem is filled twice: to measure what it takes, then as small as that allows',
            why: 'minimize: true',
          },
        ]
      : []),
    {
      phase: 'boot filesystems',
      way: { host: 'mkfs.vfat at their offsets, on this host', builder: `mkfs.vfat in the ${vm}`, none: 'none' }[
        bootFilesystems
      ],
      why: !hasFat
        ? `${layout.named} has none`
        : inVm
          ? 'the VM runs anyway, and mounts them'
          : 'this does not need root',
    },
    { phase: 'boot loader', ...loader.explained },
    ...(secureBoot === undefined
      ? []
      : [
          {
            phase: 'Secure Boot',
            way: `${secureBoot.way === 'uki' ? 'unified kernel images' : 'boot loader and kernels'} signed on this host`,
            why: `secureBoot.way "${secureBoot.way}"; enroll "${secureBoot.enroll}"`,
          },
        ]),
    ...(encryption === undefined
      ? []
      : [
          {
            phase: 'encryption',
            way: `LUKS2 of the root, in place, on this host; opened as ${encryption.name ?? 'the system says'}, UUID ${encryption.uuid}`,
            why: `encrypt; ${encryption.why}`,
          },
        ]),
    {
      phase: 'owners of contents',
      way: {
        declared: 'IDs that the system declares',
        activated: `chown in the activated system, in the ${vm}`,
        none: 'root',
      }[owners],
      why: !named ? 'no entry names a user' : inVm ? 'the VM runs anyway' : 'no VM runs that could look up names',
    },
    {
      phase: 'machine-id',
      way: inVm ? `removed in the ${vm}` : 'never created',
      why: inVm ? 'activation creates one' : "none of the system's code runs",
    },
    {
      phase: 'times and identifiers',
      way: spec.reproducible
        ? 'all fixed: the same bytes each time'
        : spec.deterministic
          ? 'identifiers fixed, times of this build'
          : 'random identifiers',
      why: spec.reproducible ? 'reproducible: true' : `deterministic: ${spec.deterministic}`,
    },
    ...(inVm && spec.reproducible
      ? [
          {
            phase: 'layout',
            way: 'files are extracted after the VM, and written to a new disk on this host',
            why: 'reproducible: true; a running kernel writes in an unpredictable order, with the current time',
          },
        ]
      : []),
    {
      phase: 'format',
      way: spec.format === 'raw' ? 'the disk itself' : 'qemu-img convert',
      why: `format "${spec.format}"`,
    },
  ];
  const { bootLoader, firmware } = loader;
  return { closure, bootLoader, firmware, bootFilesystems, owners, needsBuilder: inVm, secureBoot, encryption, phases };
}

/** `512 MiB, vfat "ESP" at /boot` */
function drawn(partition: OwnPartition): string {
  const { sizeBytes, maxBytes, weight, padding, filesystem, filesystemLabel, populateFrom, subvolumes } = partition;
  const isOfSubvolume = subvolumes.some(({ mountPoint }) => mountPoint === partition.mountPoint);
  const mountPoint = isOfSubvolume ? undefined : partition.mountPoint;
  const size = sizeBytes === undefined ? 'as large as its content needs' : formatBytes(sizeBytes);
  const most = maxBytes === undefined ? '' : `, at most ${formatBytes(maxBytes)}`;
  const share = weight === 0 ? '' : ` or more, by weight ${weight}${most}`;
  const isApart = padding.leastBytes > 0 || padding.weight > 0;
  const space = isApart ? `, then ${formatBytes(padding.leastBytes)}${padding.weight > 0 ? ' or more' : ''} free` : '';
  const packed = partition.compression === undefined ? '' : `, ${partition.compression}`;
  const at = mountPoint === undefined ? '' : ` at ${mountPoint}`;
  const from = populateFrom === undefined ? '' : ` with the files of ${populateFrom}`;
  const inside = subvolumes.map(({ path, mountPoint: on }) => `"${path}"${on === undefined ? '' : ` at ${on}`}`);
  const parts = inside.length === 0 ? '' : ` with the subvolumes ${inside.join(', ')}`;
  return `${size}${share}, ${filesystem === 'none' ? 'no filesystem' : `${filesystem}${packed}${filesystemLabel === '' ? '' : ` "${filesystemLabel}"`}`}${at}${parts}${from}${space}`;
}

const ROOT_WAYS: Readonly<Record<ImageSpec['fsType'], string>> = {
  ext4: 'mkfs.ext4 at its offset, filled by this process in a fixed order',
  btrfs: 'mkfs.btrfs --rootdir into a sparse file, spliced in',
  xfs: 'mkfs.xfs -p into a sparse file, spliced in',
  f2fs: 'mkfs.f2fs and sload.f2fs into a sparse file, spliced in',
};
