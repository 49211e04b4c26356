import { chmod, lstat, mkdtemp, open, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type KernelLock, tryLockOf, waitForLock } from '../run/kernel-lock.ts';
import { makeDirectories } from './given-paths.ts';

const PREFIX = '.nixos-disk-image-';
const LOCK = 'lock';

/** A directory without a lock file is still being created, or its creator was killed. After this time, it is taken as
 *  abandoned. */
const UNLOCKED_MS = 24 * 3_600_000;

/** A private directory on the same filesystem as the output, so that finished files can be renamed into place. */
export interface PrivateDirectory extends AsyncDisposable {
  readonly path: string;
}

/** Creates a private directory (mode 0700) in `parent`, which is created if necessary. Disposing removes it with its
 *  content. Directories that killed processes left in `parent` are removed first; nobody holds their locks.
 *  Runs: flock. */
export async function makePrivateDirectory(parent: string): Promise<PrivateDirectory> {
  await makeDirectories(parent);
  return privateDirectoryIn(parent);
}

async function privateDirectoryIn(parent: string): Promise<PrivateDirectory> {
  await removeAbandoned(parent);
  const path = await mkdtemp(join(parent, PREFIX));
  const lock = await lockNewDirectory(path).catch(async (error: unknown) => {
    await removeTree(path);
    throw error;
  });
  return {
    path,
    async [Symbol.asyncDispose]() {
      await removeTree(path);
      lock[Symbol.dispose]();
    },
  };
}

/** Gives the lock file its final name only after it is locked: other processes remove a directory whose lock is
 *  free. */
async function lockNewDirectory(path: string): Promise<KernelLock> {
  const making = join(path, `${LOCK}.new`);
  const lock = await waitForLock(making);
  await rename(making, join(path, LOCK));
  return lock;
}

/** Has a file written in a private directory beside its target, and renames it when it is finished: an existing file is replaced
 *  only by a finished one, and a failure leaves nothing. The target's directory must exist. Runs: flock. */
export async function replaceFile(target: string, write: (partial: string) => Promise<void>): Promise<void> {
  await using work = await privateDirectoryIn(dirname(target));
  const partial = join(work.path, 'unfinished');
  await write(partial);
  await rename(partial, target);
}

/** Renames a finished file into place, after its content has been synced to disk. */
export async function publishFile(finished: string, target: string): Promise<void> {
  const handle = await open(finished, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
  // After a power failure, either the old or the new file exists, complete. Syncing the directory as well would only
  // add a wait.
  await rename(finished, target);
}

/** Removes a directory with everything in it, including directories without write permission, such as those of a Nix store. Does
 *  nothing if it does not exist. */
export async function removeTree(path: string): Promise<void> {
  if (process.getuid?.() !== 0) await makeWritable(path);
  // Another process may be checking whether it is abandoned.
  await rm(path, { recursive: true, force: true, maxRetries: 3 });
}

async function makeWritable(path: string): Promise<void> {
  const entries = await chmod(path, 0o700)
    .then(() => readdir(path, { withFileTypes: true }))
    .catch(() => []);
  for (const entry of entries) if (entry.isDirectory()) await makeWritable(join(path, entry.name));
}

async function removeAbandoned(parent: string): Promise<void> {
  // A directory may be one in which its user can create files, but not list them.
  for (const entry of await readdir(parent, { withFileTypes: true }).catch(() => [])) {
    if (!entry.isDirectory() || !entry.name.startsWith(PREFIX)) continue;
    const path = join(parent, entry.name);
    // Another user's directory is left alone: its content is not trusted.
    const { uid, mtimeMs } = await lstat(path).catch(() => ({ uid: -1, mtimeMs: 0 }));
    if (uid === process.getuid?.()) await removeIfAbandoned(path, mtimeMs).catch(() => undefined);
  }
}

async function removeIfAbandoned(path: string, mtimeMs: number): Promise<void> {
  const file = join(path, LOCK);
  const isLocked = await lstat(file).then(
    () => true,
    () => false,
  );
  if (!isLocked) {
    if (Date.now() - mtimeMs > UNLOCKED_MS) await removeTree(path);
    return;
  }
  using lock = await tryLockOf(file);
  if (lock === undefined) return;
  // The lock goes last: without it, what could not be removed would count as new.
  for (const name of await readdir(path)) if (name !== LOCK) await removeTree(join(path, name));
  await removeTree(path);
}
