import { PARTITION_LAYOUTS } from '../formats/layouts.ts';
import { readGeneration } from '../nix/bootspec.ts';
import { efiTarget, GRUB_DEFAULTS, type GrubSettings } from '../nix/grub-settings.ts';
import { readLoaderSettings } from '../nix/loader-settings.ts';
import { resolveStorePath } from '../nix/store.ts';
import type { SystemdBootSettings } from '../nix/systemd-boot-settings.ts';
import { InvalidOptionsError } from '../run/errors.ts';
import { type BootLoader, type ImageSpec, type ImageSpecInput, ONLY_OF, parseImageSpec } from '../spec/image-spec.ts';

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
  /** The same for people, in the order of the build. */
  readonly phases: readonly BuildPhase[];
}

export interface BuildPhase {
  readonly phase: string;
  readonly way: string;
  readonly why: string;
}

const PLAN = 'buildImage';

/** Decides which way each phase of a build goes. It reads the system, and changes nothing.
 *  @throws {InvalidOptionsError} for a wrong specification, and when the system's boot loader cannot be told and none is named. */
export async function planBuild(options: ImageSpecInput): Promise<BuildPlan> {
  const spec = parseImageSpec(options);
  const layout = PARTITION_LAYOUTS[spec.partitionTableType];
  const inVm = spec.installBootLoader && spec.bootLoaderFrom === 'switch-to-configuration';
  const closure = spec.populateRootWith === 'cptofs' ? 'copied' : 'in place';
  const loader = await chooseBootLoader(spec);
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
  return { closure, bootLoader, firmware, bootFilesystems, owners, needsBuilder: inVm, phases };
}

const ROOT_WAYS: Readonly<Record<ImageSpec['fsType'], string>> = {
  ext4: 'mkfs.ext4 at its offset, filled by this process in a fixed order',
  btrfs: 'mkfs.btrfs --rootdir into a sparse file, spliced in',
  xfs: 'mkfs.xfs -p into a sparse file, spliced in',
  f2fs: 'mkfs.f2fs and sload.f2fs into a sparse file, spliced in',
};

interface ChosenBootLoader {
  readonly bootLoader: BuildPlan['bootLoader'];
  readonly firmware: BuildPlan['firmware'];
  readonly explained: { readonly way: string; readonly why: string };
}

async function chooseBootLoader(spec: ImageSpec): Promise<ChosenBootLoader> {
  const none = (why: string): ChosenBootLoader => ({
    ...{ bootLoader: 'none', firmware: [] },
    explained: { way: 'none', why },
  });
  if (!spec.installBootLoader) return none('installBootLoader: false');
  if (spec.bootLoaderFrom === 'switch-to-configuration')
    return {
      ...{ bootLoader: 'switch-to-configuration', firmware: [] },
      explained: {
        way: "the system's own switch-to-configuration boot, in the builder VM",
        why: 'bootLoaderFrom "switch-to-configuration"; "bootspec" needs no VM',
      },
    };
  const store = spec.store ?? '/';
  const toplevel = await resolveStorePath(PLAN, spec.toplevel, 'toplevel', spec.store);
  // What takes running the system's own code is refused here, before anything is made.
  const settings = await readLoaderSettings(PLAN, store, toplevel);
  const { installer } = settings;
  if (spec.bootLoader === undefined && installer?.loader === 'none')
    return none('the system is configured without a boot loader');
  if (spec.bootLoader === undefined && installer?.loader === 'other')
    throw new InvalidOptionsError(
      PLAN,
      [{ path: 'bootLoader', message: `the boot loader of the system is installed by its own ${installer.name}` }],
      { hint: 'run it: bootLoaderFrom "switch-to-configuration"; or say bootLoader "grub" or "systemd-boot"' },
    );
  const bootLoader = spec.bootLoader ?? (installer?.loader as BootLoader | undefined);
  if (bootLoader === undefined)
    throw new InvalidOptionsError(
      PLAN,
      [{ path: 'bootLoader', message: `is needed: which loader ${spec.toplevel} is for cannot be told` }],
      { hint: 'say bootLoader "grub" or "systemd-boot"' },
    );
  checkOptions(spec, bootLoader);
  await readGeneration(PLAN, { number: 1, toplevel }, { store: spec.store });
  // Who names the loader wants it for all that the layout is for.
  const asked = spec.bootLoader === undefined ? settings.grub : GRUB_DEFAULTS;
  const firmware = bootLoader === 'grub' ? grubFirmware(spec, asked) : [];
  if (bootLoader === 'systemd-boot') checkSystemdBoot(spec, settings.systemdBoot);
  const onlyMenu = bootLoader === 'grub' && firmware.length === 0;
  return {
    ...{ bootLoader, firmware },
    explained: {
      way: `${bootLoader === 'grub' ? 'GRUB' : 'systemd-boot'} from boot.json, on this host${onlyMenu ? ': its menu alone' : ''}`,
      why: `bootLoaderFrom "bootspec"; ${
        spec.bootLoader === undefined
          ? `the system's own installer is ${installer?.name}`
          : `bootLoader "${spec.bootLoader}"`
      }${onlyMenu ? ', for no device and without EFI' : ''}`,
    },
  };
}

/** Options that the loader does not have. */
function checkOptions(spec: ImageSpec, bootLoader: BootLoader): void {
  const issues = Object.entries(ONLY_OF)
    .filter(([name, loader]) => loader !== bootLoader && spec[name as keyof typeof ONLY_OF] !== undefined)
    .map(([name, loader]) => ({ path: name, message: `is an option of ${loader}, and the system has ${bootLoader}` }));
  if (issues.length > 0) throw new InvalidOptionsError(PLAN, issues);
}

/** What GRUB is installed for: what the system asks for, where the layout has a place for it. A system whose configuration is not
 *  known gets all that the layout is for.
 *  @throws {InvalidOptionsError} for what grub-install would fail at. */
function grubFirmware(spec: ImageSpec, settings: GrubSettings): ('bios' | 'efi')[] {
  const { bios, efi, table, partitions } = PARTITION_LAYOUTS[spec.partitionTableType];
  if (!settings.isConfigured) return [...(bios ? (['bios'] as const) : []), ...(efi ? (['efi'] as const) : [])];
  const target = efiTarget(settings);
  const devices = settings.devices.filter((device) => device !== 'nodev');
  const forBios = (target === 'no' || target === 'both') && devices.length > 0;
  const forEfi = target === 'only' || target === 'both';
  const issues = [];
  if (forBios && !bios)
    issues.push({
      path: 'boot.loader.grub.devices',
      message: `names ${devices.join(', ')}, and partitionTableType "${spec.partitionTableType}" has no place for GRUB for BIOS${table === 'none' ? '; "nodev" installs the menu alone' : ''}`,
    });
  if (forEfi && !efi)
    issues.push({
      path: 'boot.loader.grub.efiSupport',
      message: `is true, and partitionTableType "${spec.partitionTableType}" has no EFI system partition`,
    });
  const esp = partitions.find(({ role }) => role === 'esp');
  if (forEfi && efi && esp?.mountPoint !== settings.efiSysMountPoint)
    issues.push({
      path: 'boot.loader.efi.efiSysMountPoint',
      message: `is ${settings.efiSysMountPoint}, and the ESP of partitionTableType "${spec.partitionTableType}" is ${esp?.mountPoint}`,
    });
  if (issues.length > 0) throw new InvalidOptionsError(PLAN, issues);
  return [...(forBios ? (['bios'] as const) : []), ...(forEfi ? (['efi'] as const) : [])];
}

/** @throws {InvalidOptionsError} where the system's own installer would find no partition mounted. */
function checkSystemdBoot(spec: ImageSpec, settings: SystemdBootSettings): void {
  const { efi, partitions } = PARTITION_LAYOUTS[spec.partitionTableType];
  const type = spec.partitionTableType;
  if (!efi)
    throw new InvalidOptionsError(PLAN, [
      { path: 'partitionTableType', message: `"${type}" has no EFI, which the system's systemd-boot needs` },
    ]);
  if (!settings.isConfigured) return;
  const mountPointOf = (wanted: string): string | undefined =>
    partitions.find(({ role }) => role === wanted)?.mountPoint;
  const esp = mountPointOf('esp');
  const boot = mountPointOf('xbootldr') ?? esp;
  const issues = [];
  if (settings.espMountPoint !== esp)
    issues.push({
      path: 'boot.loader.efi.efiSysMountPoint',
      message: `is ${settings.espMountPoint}, and the ESP of partitionTableType "${type}" is ${esp}`,
    });
  if (settings.bootMountPoint !== boot)
    issues.push({
      path: 'boot.loader.systemd-boot.xbootldrMountPoint',
      message: `makes the boot partition ${settings.bootMountPoint}, and that of partitionTableType "${type}" is ${boot}`,
    });
  if (issues.length > 0) throw new InvalidOptionsError(PLAN, issues);
}
