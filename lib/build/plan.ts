import { PARTITION_LAYOUTS } from '../formats/layouts.ts';
import { InvalidOptionsError } from '../run/errors.ts';
import { type BootLoader, type ImageSpec, type ImageSpecInput, parseImageSpec } from '../spec/image-spec.ts';
import { chooseBootLoader } from './choose-boot-loader.ts';
import { planSecureBoot, type SecureBootPlan } from './secure-boot.ts';

/** Which way each phase of a build goes. buildImage follows it, and `build --explain` prints it. */
export interface BuildPlan {
  /** Whether store paths are first copied to the staged root, or written into the filesystem from where they are. */
  readonly closure: 'copied' | 'in place';
  /** Who installs the boot loader: this host from boot.json, the system's own program in the builder VM, nobody. */
  readonly bootLoader: BootLoader | 'switch-to-configuration' | 'none';
  /** For GRUB from boot.json: what it is installed for. */
  readonly firmware: readonly ('bios' | 'efi')[];
  /** Whether the FAT filesystems are made at their offsets on this host, or in the builder VM. */
  readonly bootFilesystems: 'host' | 'builder' | 'none';
  /** How the names in `contents` become numbers. */
  readonly owners: 'declared' | 'activated' | 'none';
  readonly needsBuilder: boolean;
  /** How boot programs are signed; undefined when they are not. */
  readonly secureBoot: SecureBootPlan | undefined;
  /** The same for people, in the order of the build. */
  readonly phases: readonly BuildPhase[];
}

export interface BuildPhase {
  readonly phase: string;
  readonly way: string;
  readonly why: string;
}

/** Decides which way each phase of a build goes. It reads the system, and changes nothing.
 *  @throws {InvalidOptionsError} for a wrong specification, and when the system's boot loader cannot be told and none is named. */
export async function planBuild(options: ImageSpecInput): Promise<BuildPlan> {
  const spec = parseImageSpec(options);
  const layout = PARTITION_LAYOUTS[spec.partitionTableType];
  const inVm = spec.installBootLoader && spec.bootLoaderFrom === 'switch-to-configuration';
  const closure = spec.populateRootWith === 'cptofs' ? 'copied' : 'in place';
  const loader = await chooseBootLoader(spec);
  const secureBoot = await planSecureBoot(spec);
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
          why: 'populateRootWith "mke2fs": e2fsprogs and the like read files where they are',
        }
      : { phase: 'closure', way: 'copied to a staged root first', why: 'populateRootWith "cptofs" copies directories' },
    {
      phase: 'root filesystem',
      way: spec.populateRootWith === 'cptofs' ? 'mkfs at its offset, then cptofs' : ROOT_WAYS[spec.fsType],
      why: `fsType "${spec.fsType}"`,
    },
    {
      phase: 'boot filesystems',
      way: { host: 'mkfs.vfat at their offsets, on this host', builder: `mkfs.vfat in the ${vm}`, none: 'none' }[
        bootFilesystems
      ],
      why: !hasFat
        ? `partitionTableType "${spec.partitionTableType}" has none`
        : inVm
          ? 'the VM runs anyway, and mounts them'
          : 'nothing of this needs root',
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
    {
      phase: 'owners of contents',
      way: {
        declared: 'numbers the system declares',
        activated: `chown in the activated system, in the ${vm}`,
        none: 'root',
      }[owners],
      why: !named ? 'no entry names a user' : inVm ? 'the VM runs anyway' : 'no VM runs, in which names would be known',
    },
    {
      phase: 'machine-id',
      way: inVm ? `removed in the ${vm}` : 'never made',
      why: inVm ? 'activation makes one' : 'nothing of the system runs',
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
            way: 'what the VM left is taken out, and laid out again on a new disk, on this host',
            why: 'reproducible: true; a running kernel writes in its own order, at the time it is',
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
  return { closure, bootLoader, firmware, bootFilesystems, owners, needsBuilder: inVm, secureBoot, phases };
}

const ROOT_WAYS: Readonly<Record<ImageSpec['fsType'], string>> = {
  ext4: 'mkfs.ext4 at its offset, filled by this process in a fixed order',
  btrfs: 'mkfs.btrfs --rootdir into a sparse file, spliced in',
  xfs: 'mkfs.xfs -p into a sparse file, spliced in',
  f2fs: 'mkfs.f2fs and sload.f2fs into a sparse file, spliced in',
};
