import { readFile, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { loaderLines } from '../formats/loader-lines.ts';
import { makeDirectories } from '../host-files/given-paths.ts';
import { UnexpectedStateError } from '../run/errors.ts';
import type { StepRunner } from '../run/step.ts';
import { writeUki } from './write-uki.ts';

/** The files of a boot partition in a directory of this host. FAT's names are the same in upper and lower case. */
export interface BootDirectory {
  readonly path: string;
  /** By name in lower case, from the directory. */
  readonly files: ReadonlyMap<string, string>;
}

const ENTRY = /^loader\/entries\/[^/]+\.conf$/;

/** Makes a unified kernel image of each entry of type 1, and removes the entry with the files that only it named. The images have
 *  the names of the entries, so `default` in loader.conf finds them.
 *  @returns the images, from the directory. @see UAPI.1 Boot Loader Specification */
export async function entriesToUkis(step: StepRunner, directory: BootDirectory, stub: string): Promise<string[]> {
  const made: string[] = [];
  const used = new Set<string>();
  const kept = new Set<string>();
  for (const [key, name] of directory.files) {
    if (!ENTRY.test(key)) continue;
    const text = await readFile(join(directory.path, name), 'utf8');
    const fields = loaderLines(text);
    const all = (field: string): string[] => fields.flatMap(([one, value]) => (one === field ? [value] : []));
    const [linux] = all('linux');
    const references = ['linux', 'initrd', 'devicetree', 'efi', 'uki'].flatMap(all).map(keyOf);
    if (linux === undefined) {
      for (const file of references) kept.add(file);
      continue;
    }
    const find = (path: string): string => {
      const found = directory.files.get(keyOf(path));
      if (found === undefined)
        throw new UnexpectedStateError(step.step, `${name} names ${path}`, {
          expected: 'a file of the partition that has the entry',
          found: 'none',
        });
      used.add(keyOf(path));
      return join(directory.path, found);
    };
    const [deviceTree] = all('devicetree');
    const target = `EFI/Linux/${basename(name).replace(/\.conf$/, '')}.efi`;
    await makeDirectories(join(directory.path, 'EFI/Linux'));
    const parts = {
      ...{ stub, kernel: find(linux), initrds: all('initrd').map(find), commandLine: all('options').join(' ') },
      osRelease: osRelease(all('title')[0], all('version')[0], all('sort-key')[0]),
      deviceTree: deviceTree === undefined ? undefined : find(deviceTree),
    };
    await writeUki(step, parts, join(directory.path, target));
    made.push(target);
    await rm(join(directory.path, name));
  }
  for (const key of used) if (!kept.has(key)) await rm(join(directory.path, directory.files.get(key) ?? key));
  return made;
}

/** Has loader.conf name images where it named entries. */
export async function renameDefault(directory: BootDirectory): Promise<void> {
  const name = directory.files.get('loader/loader.conf');
  if (name === undefined) return;
  const file = join(directory.path, name);
  const text = await readFile(file, 'utf8');
  await writeFile(file, text.replace(/^((?:default|preferred)\s+\S+)\.conf$/gm, '$1.efi'));
}

function keyOf(path: string): string {
  return path
    .replaceAll('\\', '/')
    .replace(/^\/+/, '')
    .replace(/\/{2,}/g, '/')
    .toLowerCase();
}

/** What systemd-boot shows of an image, and sorts it by. @see os-release(5) */
function osRelease(title = 'NixOS', version = '', sortKey = 'nixos'): string {
  const quoted = (text: string): string => `"${text.replace(/["$\\`]/g, '\\$&')}"`;
  return `ID=${quoted(sortKey)}\nPRETTY_NAME=${quoted(title)}\nVERSION=${quoted(version)}\n`;
}
