import { stat } from 'node:fs/promises';
import { basename, join, relative } from 'node:path';
import type { FatFile } from '../filesystem/fat.ts';
import type { CopiedFile } from '../nix/install-commands.ts';
import { resolveInStore } from '../nix/store.ts';
import { InvalidOptionsError } from '../run/errors.ts';

/** A file of the store, for a boot partition.
 *  @throws {InvalidOptionsError} when it is not there, by the option of NixOS's that names it. */
export async function storeFile(
  step: string,
  store: string,
  option: string,
  source: string,
  path: string,
): Promise<FatFile> {
  const resolved = await resolveInStore(store, source);
  const file = resolved === undefined ? undefined : join(store, resolved);
  const facts = file === undefined ? undefined : await stat(file).catch(() => undefined);
  if (file === undefined || facts?.isFile() !== true) throw notInStore(step, option, source);
  return { path, content: { source: file, sizeBytes: facts.size } };
}

/** Copies of a system's installer as files of a boot partition.
 *  @param mountPoint where that is: only what goes there is taken. */
export async function copiedFiles(
  step: string,
  store: string,
  option: string,
  copies: readonly CopiedFile[],
  mountPoint: string,
): Promise<FatFile[]> {
  const files = new Map<string, FatFile>();
  for (const { source, target } of copies) {
    if (!target.startsWith(`${mountPoint}/`)) continue;
    const path = relative(mountPoint, target);
    const file =
      source === '/dev/null' ? { path, content: { text: '' } } : await storeFile(step, store, option, source, path);
    files.set(path, file);
  }
  return [...files.values()];
}

export function notInStore(step: string, option: string, source: string): InvalidOptionsError {
  return new InvalidOptionsError(step, [
    { path: option, message: `${basename(source)} is not in the store of the system: ${source}` },
  ]);
}

/** Files of which the last of a name counts, as where an installer copies what it is given at the end. Names on a FAT are the same in
 *  capitals and small letters. */
export function laterWins(files: readonly FatFile[]): FatFile[] {
  return [...new Map(files.map((file) => [file.path.toLowerCase(), file])).values()];
}
