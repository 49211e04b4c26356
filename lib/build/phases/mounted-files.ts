import { chmod, lstat, mkdir, readdir, realpath, rename } from 'node:fs/promises';
import { join, posix, relative } from 'node:path';
import { makeDirectoryInside } from '../../host-files/inside-root.ts';
import { InvalidOptionsError } from '../../run/errors.ts';
import type { ImageSpec } from '../../spec/image-spec.ts';
import { layoutOf, partitionOf } from '../../spec/layout.ts';

const STEP = 'buildImage';

/** Files that go onto a separate partition. */
export interface MountedFiles {
  readonly number: number;
  readonly mountPoint: string;
  readonly directory: string;
}

/** Refuses what a FAT cannot store: links and named pipes. @throws {InvalidOptionsError} */
export async function requireFatFiles(directory: string, option: string, mountPoint: string): Promise<void> {
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    if (entry.isFile() || entry.isDirectory()) continue;
    const path = posix.join(mountPoint, relative(directory, join(entry.parentPath, entry.name)));
    const kind = entry.isSymbolicLink() ? 'a symbolic link' : 'neither a file nor a directory';
    throw new InvalidOptionsError(STEP, [{ path: option, message: `${path} is ${kind}, which a FAT cannot store` }]);
  }
}

/** Moves files that are staged below the mount point of a partition out of the root, because the mounted partition would
 *  hide them. The mount points of the user's own partitions are created.
 *  @throws {InvalidOptionsError} when a mount point is not a directory. */
export async function takeMountedFiles(spec: ImageSpec, root: string, work: string): Promise<MountedFiles[]> {
  const taken: MountedFiles[] = [];
  const { partitions } = layoutOf(spec);
  const mounted = partitions
    .flatMap(({ number, mountPoint, label }) =>
      mountPoint === undefined || mountPoint === '/' ? [] : [{ number, mountPoint, label }],
    )
    // A partition may be mounted below another one.
    .sort((a, b) => a.mountPoint.length - b.mountPoint.length);
  for (const { number, mountPoint, label } of mounted) {
    const above = partitionOf(taken, mountPoint) ?? { directory: root, mountPoint: '' };
    const at = mountPoint.slice(above.mountPoint.length);
    const staged = join(above.directory, at);
    const isOwn = spec.partitions !== undefined;
    if (isOwn) await makeDirectoryInside(STEP, above.directory, at);
    const facts = await lstat(staged).catch(() => undefined);
    if (facts === undefined) continue;
    const isLinked = isOwn && (await realpath(staged)) !== join(await realpath(above.directory), at);
    if (!facts.isDirectory() || isLinked)
      throw new InvalidOptionsError(STEP, [
        { path: 'contents', message: `replaces the directory ${mountPoint}, where a partition is mounted` },
      ]);
    if (!isOwn && (await readdir(staged)).length === 0) continue;
    if (label !== undefined) await requireFatFiles(staged, 'contents', mountPoint);
    const directory = join(work, `files-of-partition-${number}`);
    await rename(staged, directory);
    await mkdir(staged);
    // Independent of the umask.
    await chmod(staged, facts.mode & 0o7777);
    taken.push({ number, mountPoint, directory });
  }
  return taken;
}
