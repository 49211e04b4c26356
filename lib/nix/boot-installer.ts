import { readInStore } from './store.ts';

/** The program that installs a system's boot loader, as its switch-to-configuration names it.
 *  @see nixos/modules/system/activation/switchable-system.nix */
export interface BootInstaller {
  /** "none": the system is configured without a loader. "other": with one that only its own program installs. */
  readonly loader: 'grub' | 'systemd-boot' | 'none' | 'other';
  /** The file's name, without the hash: `install-grub.sh`. */
  readonly name: string;
  /** What the script says. */
  readonly script: string;
}

/** NixOS's names for its installers. */
const LOADERS: Readonly<Record<string, BootInstaller['loader']>> = {
  'install-grub.sh': 'grub',
  'install-systemd-boot.sh': 'systemd-boot',
  'no-bootloader': 'none',
};

/** @param store the store's directory.
 *  @returns undefined where the system has no switch-to-configuration, or names no installer in it. */
export async function readBootInstaller(store: string, toplevel: string): Promise<BootInstaller | undefined> {
  // A script, or a program that was wrapped to hand the name to another.
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
