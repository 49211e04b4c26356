import { chmod, mkdir, mkdtemp, open, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { processIdentity, processLives } from './process-identity.ts';

const PREFIX = '.nixos-disk-image-';

/** A private folder on the filesystem of the output, so that a finished file is renamed into place. */
export interface PrivateFolder extends AsyncDisposable {
  readonly path: string;
}

/** Makes a private folder (mode 0700) in `parent`, which it makes too; disposing removes it with all inside. Folders
 *  that a killed process left in `parent` are removed first: their owner is no longer alive. */
export async function makePrivateFolder(parent: string): Promise<PrivateFolder> {
  await mkdir(parent, { recursive: true });
  await removeAbandoned(parent);
  const path = await mkdtemp(join(parent, PREFIX));
  await writeFile(join(path, 'owner'), `${await processIdentity()}\n`);
  return {
    path,
    async [Symbol.asyncDispose]() {
      await removeTree(path);
    },
  };
}

/** Renames a finished file into place, on disk before its name is. */
export async function publishFile(finished: string, target: string): Promise<void> {
  const handle = await open(finished, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
  // After a power cut there is the old file or the new one, whole; the folder is not synced, which waits for the host's journal.
  await rename(finished, target);
}

/** Removes a tree, also one with folders that may not be written to (a Nix store's). */
export async function removeTree(path: string): Promise<void> {
  if (process.getuid?.() !== 0) await makeWritable(path);
  await rm(path, { recursive: true, force: true });
}

export function isErrno(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}

async function makeWritable(path: string): Promise<void> {
  const entries = await chmod(path, 0o700)
    .then(() => readdir(path, { withFileTypes: true }))
    .catch(() => []);
  for (const entry of entries) if (entry.isDirectory()) await makeWritable(join(path, entry.name));
}

async function removeAbandoned(parent: string): Promise<void> {
  for (const entry of await readdir(parent, { withFileTypes: true })) {
    if (!entry.isDirectory() || !entry.name.startsWith(PREFIX)) continue;
    const path = join(parent, entry.name);
    const owner = await readFile(join(path, 'owner'), 'utf8').catch(() => '');
    // No owner yet: another process is just making it.
    if (owner !== '' && !(await processLives(owner))) await removeTree(path).catch(() => undefined);
  }
}
