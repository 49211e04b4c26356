import { readGeneration } from '../nix/bootspec.ts';
import { efiTarget, GRUB_DEFAULTS, type GrubSettings } from '../nix/grub-settings.ts';
import { readLoaderSettings } from '../nix/loader-settings.ts';
import { resolveStorePath } from '../nix/store.ts';
import type { SystemdBootSettings } from '../nix/systemd-boot-settings.ts';
import { InvalidOptionsError } from '../run/errors.ts';
import { type BootLoader, type ImageSpec, ONLY_OF } from '../spec/image-spec.ts';
import { layoutOf } from '../spec/layout.ts';
import type { BuildPlan } from './plan.ts';

const STEP = 'buildImage';

/** Which boot loader is installed, how, for which firmware, and why. */
export interface ChosenBootLoader {
  readonly bootLoader: BuildPlan['bootLoader'];
  readonly firmware: BuildPlan['firmware'];
  readonly explained: { readonly way: string; readonly why: string };
}

/** Chooses the boot loader from the specification and the system's configuration.
 *  @throws {InvalidOptionsError} when the loader cannot be determined, or when the system needs its own installer. */
export async function chooseBootLoader(spec: ImageSpec): Promise<ChosenBootLoader> {
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
  const toplevel = await resolveStorePath(STEP, spec.toplevel, 'toplevel', spec.store);
  // This refuses settings that only the system's own code can apply, before anything is written.
  const settings = await readLoaderSettings(STEP, store, toplevel, spec.bootLoader);
  const { installer } = settings;
  if (spec.bootLoader === undefined && installer?.loader === 'none')
    return none('the system is configured without a boot loader');
  if (spec.bootLoader === undefined && installer?.loader === 'other')
    throw new InvalidOptionsError(
      STEP,
      [{ path: 'bootLoader', message: `only ${installer.name} can install the boot loader of the system` }],
      {
        hint: 'run it with bootLoaderFrom "switch-to-configuration", or set bootLoader to "grub" or "systemd-boot"',
      },
    );
  const bootLoader = spec.bootLoader ?? (installer?.loader as BootLoader | undefined);
  if (bootLoader === undefined)
    throw new InvalidOptionsError(
      STEP,
      [
        {
          path: 'bootLoader',
          message: `is required, because the boot loader of ${spec.toplevel} cannot be determined`,
        },
      ],
      { hint: 'set bootLoader to "grub" or "systemd-boot"' },
    );
  checkOptions(spec, bootLoader);
  await readGeneration(STEP, { number: 1, toplevel }, { store: spec.store });
  // A boot loader that is named explicitly is installed for every firmware that the layout supports.
  const asked = spec.bootLoader === undefined ? settings.grub : GRUB_DEFAULTS;
  const firmware = bootLoader === 'grub' ? grubFirmware(spec, asked) : [];
  if (bootLoader === 'systemd-boot') checkSystemdBoot(spec, settings.systemdBoot);
  const onlyMenu = bootLoader === 'grub' && firmware.length === 0;
  return {
    ...{ bootLoader, firmware },
    explained: {
      way: `${bootLoader === 'grub' ? 'GRUB' : 'systemd-boot'} from boot.json, on this host${onlyMenu ? ': only its menu' : ''}`,
      why: `bootLoaderFrom "bootspec"; ${
        spec.bootLoader === undefined
          ? `the system's own installer is ${installer?.name}`
          : `bootLoader "${spec.bootLoader}"`
      }${onlyMenu ? ', for no device and without EFI' : ''}`,
    },
  };
}

/** @throws {InvalidOptionsError} for options that belong to the other boot loader. */
function checkOptions(spec: ImageSpec, bootLoader: BootLoader): void {
  const issues = Object.entries(ONLY_OF)
    .filter(([name, loader]) => loader !== bootLoader && spec[name as keyof typeof ONLY_OF] !== undefined)
    .map(([name, loader]) => ({ path: name, message: `is an option of ${loader}, but the system has ${bootLoader}` }));
  if (issues.length > 0) throw new InvalidOptionsError(STEP, issues);
}

/** The firmware for which GRUB is installed: what the system is configured for, or all that the layout supports if the
 *  system's configuration is unknown.
 *  @throws {InvalidOptionsError} when the layout has no place for GRUB for that firmware. */
function grubFirmware(spec: ImageSpec, settings: GrubSettings): ('bios' | 'efi')[] {
  const { bios, efi, table, partitions, named } = layoutOf(spec);
  if (!settings.isConfigured) return [...(bios ? (['bios'] as const) : []), ...(efi ? (['efi'] as const) : [])];
  const target = efiTarget(settings);
  const devices = settings.devices.filter((device) => device !== 'nodev');
  const forBios = (target === 'no' || target === 'both') && devices.length > 0;
  const forEfi = target === 'only' || target === 'both';
  const issues = [];
  if (forBios && !bios)
    issues.push({
      path: 'boot.loader.grub.devices',
      message: `names ${devices.join(', ')}, but ${named} has no place for GRUB for BIOS${table === 'none' ? '; "nodev" installs only the menu' : ''}`,
    });
  if (forEfi && !efi)
    issues.push({
      path: 'boot.loader.grub.efiSupport',
      message: `is true, but ${named} has no EFI system partition`,
    });
  const esp = partitions.find(({ role }) => role === 'esp');
  if (forEfi && efi && esp?.mountPoint !== settings.efiSysMountPoint)
    issues.push({
      path: 'boot.loader.efi.efiSysMountPoint',
      message: `is ${settings.efiSysMountPoint}, but the ESP of ${named} is ${esp?.mountPoint ?? 'not mounted'}`,
    });
  if (issues.length > 0) throw new InvalidOptionsError(STEP, issues);
  return [...(forBios ? (['bios'] as const) : []), ...(forEfi ? (['efi'] as const) : [])];
}

/** @throws {InvalidOptionsError} when the layout lacks a partition at a mount point that the system's installer
 *  expects. */
function checkSystemdBoot(spec: ImageSpec, settings: SystemdBootSettings): void {
  const { efi, partitions, named } = layoutOf(spec);
  if (!efi)
    throw new InvalidOptionsError(STEP, [
      spec.partitions === undefined
        ? {
            path: 'partitionTableType',
            message: `"${spec.partitionTableType}" does not support EFI, which the system's systemd-boot needs`,
          }
        : { path: 'partitions', message: 'has no partition of type "esp", which the system\'s systemd-boot needs' },
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
      message: `is ${settings.espMountPoint}, but the ESP of ${named} is ${esp ?? 'not mounted'}`,
    });
  if (settings.bootMountPoint !== boot)
    issues.push({
      path: 'boot.loader.systemd-boot.xbootldrMountPoint',
      message: `implies the boot partition ${settings.bootMountPoint}, but that of ${named} is ${boot ?? 'not mounted'}`,
    });
  if (issues.length > 0) throw new InvalidOptionsError(STEP, issues);
}
