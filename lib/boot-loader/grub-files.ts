import { readdir, stat } from 'node:fs/promises';
import { extname, join, relative } from 'node:path';
import type { FatFile } from '../filesystem/fat.ts';
import { efiTarget, type GrubSettings } from '../nix/grub-settings.ts';
import { resolveInStore } from '../nix/store.ts';
import { notInStore, storeFile } from './copied-files.ts';
import type { GrubArtwork } from './grub-config.ts';

/** GRUB's files besides its menu, by their paths below /boot. */

const ENVIRONMENT_BYTES = 1024;

/** An empty environment block. @see GNU GRUB manual, "The GRUB environment block" */
export const GRUB_ENVIRONMENT: FatFile = {
  path: 'grub/grubenv',
  content: { text: '# GRUB Environment Block\n'.padEnd(ENVIRONMENT_BYTES, '#') },
};

/** The state file of NixOS's installer. Its next run, in the booted system, runs grub-install only if this has changed.
 *  @see nixos/modules/system/boot/loader/grub/install-grub.pl */
export function grubState(settings: GrubSettings): FatFile[] {
  if (!settings.isConfigured) return [];
  const { fullName, fullVersion, devices, efiSysMountPoint, extraGrubInstallArgs } = settings;
  const lines = [
    ...[fullName, fullVersion, efiTarget(settings), devices.join(','), efiSysMountPoint],
    JSON.stringify({ extraGrubInstallArgs }),
  ];
  return [{ path: 'grub/state', content: { text: `${lines.join('\n')}\n` } }];
}

/** Finds the menu's font, background and theme, and the files to copy to /boot for them.
 *  @throws {InvalidOptionsError} when one is not in the store. */
export async function grubArtwork(
  step: string,
  store: string,
  { font, splashImage, theme }: GrubSettings,
): Promise<{ readonly artwork: GrubArtwork; readonly files: FatFile[] }> {
  const files: FatFile[] = [];
  const add = async (option: string, source: string, path: string): Promise<void> => {
    files.push(await storeFile(step, store, `boot.loader.grub.${option}`, source, path));
  };
  if (font !== '') await add('font', font, 'converted-font.pf2');
  const background = splashImage === '' ? undefined : `background${extname(splashImage).replace(/^\.jpg$/, '.jpeg')}`;
  if (background !== undefined) await add('splashImage', splashImage, background);
  const themeFiles = theme === '' ? [] : await filesBelow(step, store, theme, 'theme');
  for (const path of themeFiles) await add('theme', join(theme, relative('theme', path)), path);
  return { artwork: { hasFont: font !== '', background, theme: themeFiles }, files };
}

/** A theme may contain symbolic links to directories. The limit ends a loop of links. */
const DEEPEST = 8;

/** Lists the files below a directory in the store, following links, as paths below `name`. */
async function filesBelow(step: string, store: string, directory: string, name: string, depth = 0): Promise<string[]> {
  const resolved = await resolveInStore(store, directory);
  const at = resolved === undefined ? undefined : join(store, resolved);
  const facts = at === undefined ? undefined : await stat(at).catch(() => undefined);
  if (at === undefined || facts === undefined || depth > DEEPEST)
    throw notInStore(step, 'boot.loader.grub.theme', directory);
  if (!facts.isDirectory()) return [name];
  const found: string[] = [];
  for (const entry of (await readdir(at)).sort())
    found.push(...(await filesBelow(step, store, join(directory, entry), join(name, entry), depth + 1)));
  return found;
}
