import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseNixXml } from '../formats/nix-xml.ts';

/** Reads the devices that a system's boot loader is configured for, from the installer configurations in its closure:
 *  GRUB's `devices` and limine's `biosDevice`. "nodev" is omitted.
 *  @param store the store's directory. @see nixos/modules/system/boot/loader/grub/grub.nix, limine/limine.nix */
export async function configuredBootDevices(store: string, storePaths: readonly string[]): Promise<string[]> {
  const devices = new Set<string>();
  for (const storePath of storePaths) {
    const [name = ''] = /-(?:grub-config\.xml|limine-install\.json)$/.exec(storePath) ?? [];
    if (name === '') continue;
    const text = await readFile(join(store, storePath), 'utf8');
    for (const device of name.endsWith('.xml') ? ofGrub(text) : ofLimine(text))
      if (device.startsWith('/dev/')) devices.add(device);
  }
  return [...devices].sort();
}

function ofGrub(text: string): string[] {
  const value = parseNixXml(text);
  const devices = typeof value === 'object' && value !== null && 'devices' in value ? value.devices : [];
  return Array.isArray(devices) ? devices.map(String) : [];
}

function ofLimine(text: string): string[] {
  const { biosDevice } = JSON.parse(text) as { readonly biosDevice?: unknown };
  return typeof biosDevice === 'string' ? [biosDevice] : [];
}
