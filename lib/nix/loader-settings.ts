import { InvalidOptionsError } from '../run/errors.ts';
import { type BootInstaller, readBootInstaller } from './boot-installer.ts';
import { GRUB_DEFAULTS, type GrubSettings, readGrubSettings } from './grub-settings.ts';
import { resolveInStore } from './store.ts';
import { readSystemdBootSettings, SYSTEMD_BOOT_DEFAULTS, type SystemdBootSettings } from './systemd-boot-settings.ts';

/** The boot loader settings of a system. They are NixOS's defaults for a loader that the system does not use. */
export interface LoaderSettings {
  /** Undefined where the system names no installer. */
  readonly installer: BootInstaller | undefined;
  readonly grub: GrubSettings;
  readonly systemdBoot: SystemdBootSettings;
}

/** Reads the settings of the system's own boot loader installer from the system's closure.
 *  @param store the store's directory.
 *  @param wanted the loader that will be installed; default: the system's own. Settings of another loader have no
 *  effect.
 *  @throws {InvalidOptionsError} listing all NixOS options of that loader that only the system's own installer
 *  supports. */
export async function readLoaderSettings(
  step: string,
  store: string,
  toplevel: string,
  wanted?: 'grub' | 'systemd-boot',
): Promise<LoaderSettings> {
  const installer = await readBootInstaller(store, toplevel);
  const grub = installer?.loader === 'grub' ? await readGrubSettings(store, installer) : undefined;
  const systemdBoot =
    installer?.loader === 'systemd-boot' ? await readSystemdBootSettings(store, installer) : undefined;
  const isOther = wanted !== undefined && wanted !== installer?.loader;
  const refused = isOther ? [] : [...(grub?.refused ?? []), ...(systemdBoot?.refused ?? [])];
  if ((wanted ?? installer?.loader) === 'grub' && (await resolveInStore(store, `${toplevel}/xen.gz`)) !== undefined)
    refused.push({ path: 'virtualisation.xen.enable', message: 'requires a hypervisor that starts the kernel' });
  if (refused.length > 0)
    throw new InvalidOptionsError(step, refused, {
      hint: 'use bootLoaderFrom "switch-to-configuration", which runs the system\'s own installer',
    });
  // boot.loader.timeout is the only setting that all loaders share.
  const timeout = (grub ?? systemdBoot)?.settings.timeout ?? GRUB_DEFAULTS.timeout;
  return {
    installer,
    grub: grub?.settings ?? { ...GRUB_DEFAULTS, timeout },
    systemdBoot: systemdBoot?.settings ?? { ...SYSTEMD_BOOT_DEFAULTS, timeout },
  };
}
