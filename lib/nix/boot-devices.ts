import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { XMLParser } from 'fast-xml-parser';

/** The devices that a system's boot loader is configured for, as the configurations in its closure name them: GRUB's `devices`,
 *  limine's `biosDevice`. "nodev" means no device.
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

/** In Nix's XML: `<attr name="devices"><list><string value="/dev/sda" /></list></attr>`. */
function ofGrub(text: string): string[] {
  const parser = new XMLParser({ ignoreAttributes: false, attributeNamePrefix: '', isArray: () => true });
  const nodes = (value: unknown): Record<string, unknown>[] => (Array.isArray(value) ? value : []);
  return nodes(parser.parse(text).expr)
    .flatMap((expression) => nodes(expression.attrs))
    .flatMap((attributes) => nodes(attributes.attr))
    .filter(({ name }) => first(name) === 'devices')
    .flatMap((attribute) => nodes(attribute.list))
    .flatMap((list) => nodes(list.string))
    .map(({ value }) => first(value));
}

function first(value: unknown): string {
  return String(Array.isArray(value) ? value[0] : value);
}

function ofLimine(text: string): string[] {
  const { biosDevice } = JSON.parse(text) as { readonly biosDevice?: unknown };
  return typeof biosDevice === 'string' ? [biosDevice] : [];
}
