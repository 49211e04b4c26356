import { chmod, lstat, mkdir, readdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { PARTITION_LAYOUTS } from '../../formats/layouts.ts';
import { InvalidOptionsError } from '../../run/errors.ts';
import type { ImageSpec } from '../../spec/image-spec.ts';

/** Moves files that are staged below the mount point of a boot partition out of the root, because the mounted partition
 *  would hide them. */
export async function takeBootFiles(
  spec: ImageSpec,
  root: string,
  work: string,
): Promise<{ readonly mountPoint: string; readonly directory: string }[]> {
  const taken = [];
  for (const { number, label, mountPoint } of PARTITION_LAYOUTS[spec.partitionTableType].partitions) {
    if (label === undefined || mountPoint === undefined) continue;
    const staged = join(root, mountPoint);
    const facts = await lstat(staged).catch(() => undefined);
    if (facts === undefined) continue;
    if (!facts.isDirectory())
      throw new InvalidOptionsError('buildImage', [
        {
          path: 'contents',
          message: `replaces the directory ${mountPoint}, where a partition is mounted`,
        },
      ]);
    if ((await readdir(staged)).length === 0) continue;
    const directory = join(work, `boot-${number}`);
    await rename(staged, directory);
    await mkdir(staged);
    // Independent of the umask.
    await chmod(staged, facts.mode & 0o7777);
    taken.push({ mountPoint, directory });
  }
  return taken;
}
