import { InvalidOptionsError } from '../run/errors.ts';
import { type BootInstaller, readBootInstaller } from './boot-installer.ts';
import { GRUB_DEFAULTS, type GrubSettings, readGrubSettings } from './grub-settings.ts';
import { resolveInStore } from './store.ts';
import { readSystemdBootSettings, SYSTEMD_BOOT_DEFAULTS, type SystemdBootSettings } from './systemd-boot-settings.ts';

/** How a system is configured to be booted. A loader that it is not configured for has NixOS's defaults. */
export interface LoaderSettings {
  /** Undefined where the system names no installer. */
  readonly installer: BootInstaller | undefined;
  readonly grub: GrubSettings;
  readonly systemdBoot: SystemdBootSettings;
}

/** Reads what the system's own installer would have read, from its closure.
 *  @param store the store's directory.
 *  @param wanted the loader that will be installed; default: the system's own. What the system asks of another has no effect.
 *  @throws {InvalidOptionsError} with each option of that loader that only the system's own installer can do, by NixOS's name. */
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
    refused.push({ path: 'virtualisation.xen.enable', message: 'asks for a hypervisor that starts the kernel' });
  if (refused.length > 0)
    throw new InvalidOptionsError(step, refused, {
      hint: 'the system\'s own installer does it: bootLoaderFrom "switch-to-configuration"',
    });
  // The one setting that is not of a loader: boot.loader.timeout.
  const timeout = (grub ?? systemdBoot)?.settings.timeout ?? GRUB_DEFAULTS.timeout;
  return {
    installer,
    grub: grub?.settings ?? { ...GRUB_DEFAULTS, timeout },
    systemdBoot: systemdBoot?.settings ?? { ...SYSTEMD_BOOT_DEFAULTS, timeout },
  };
}
