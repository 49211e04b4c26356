import { stat } from 'node:fs/promises';
import { basename, join, relative } from 'node:path';
import type { FatFile } from '../filesystem/fat.ts';
import type { CopiedFile } from '../nix/install-commands.ts';
import { resolveInStore } from '../nix/store.ts';
import { InvalidOptionsError } from '../run/errors.ts';

/** Finds a file in the store, to copy to a boot partition.
 *  @throws {InvalidOptionsError} when it does not exist; the error names the NixOS option that refers to it. */
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

/** The files that a system's own installer copies to a boot partition.
 *  @param mountPoint of the partition; files for other places are omitted. */
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
    { path: option, message: `${basename(source)} is not in the system's store: ${source}` },
  ]);
}

/** Keeps the last of several files with the same name, as if they had been copied in order. Names on a FAT are
 *  case-insensitive. */
export function laterWins(files: readonly FatFile[]): FatFile[] {
  return [...new Map(files.map((file) => [file.path.toLowerCase(), file])).values()];
}
