import { readInStore } from './store.ts';

/** The program that installs a system's boot loader, according to its switch-to-configuration.
 *  @see nixos/modules/system/activation/switchable-system.nix */
export interface BootInstaller {
  /** "none": the system is configured without a loader. "other": with a loader that only its own program can
   *  install. */
  readonly loader: 'grub' | 'systemd-boot' | 'none' | 'other';
  /** The file name, without the hash: `install-grub.sh`. */
  readonly name: string;
  /** The text of the script. */
  readonly script: string;
}

/** NixOS's names for its installers. */
const LOADERS: Readonly<Record<string, BootInstaller['loader']>> = {
  'install-grub.sh': 'grub',
  'install-systemd-boot.sh': 'systemd-boot',
  'no-bootloader': 'none',
};

/** Finds the program that installs a system's boot loader. @param store the store's directory.
 *  @returns undefined where the system has no switch-to-configuration, or names no installer in it. */
export async function readBootInstaller(store: string, toplevel: string): Promise<BootInstaller | undefined> {
  // A script, or a binary wrapper that passes the name in an environment variable.
  const text = await readInStore(store, `${toplevel}/bin/switch-to-configuration`, 'latin1');
  if (text === undefined) return undefined;
  const named = [...text.matchAll(/\/nix\/store\/[0-9a-z]{32}-([\w.+?=-]+)(?:\/[\w.+-]+)*/g)];
  const found =
    named.find(([, name = '']) => LOADERS[name] !== undefined) ??
    named.find(({ index }) => /INSTALL_BOOTLOADER\W{1,3}$/.test(text.slice(0, index)));
  if (found === undefined) return undefined;
  const [file, name = ''] = found;
  return { loader: LOADERS[name] ?? 'other', name, script: (await readInStore(store, file)) ?? '' };
}
