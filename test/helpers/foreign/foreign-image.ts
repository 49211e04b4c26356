import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';
import { distributionKernel } from '../../../harness/builder/builder-kernel.ts';
import { cachedDirectory } from '../../../harness/cache-directory.ts';
import { localExecutor } from '../../../lib/run/local-executor.ts';

/** The images from other builders, and the source of each: the tree of a release, or a kernel with busybox. */
const SOURCES = {
  'debian-12': 'bookworm',
  'debian-12-live': 'bookworm',
  'debian-12-luks': 'bookworm',
  'debian-12-openrc': 'bookworm',
  'debian-12-quiet-german': 'bookworm',
  'debian-12-sysvinit': 'bookworm',
  'debian-12-troubled': 'bookworm',
  'debian-13-luks-japanese': 'trixie',
  'debian-13-systemd-boot': 'trixie',
  'debian-13-uki': 'trixie',
  'debian-13-uki-btrfs': 'trixie',
  'busybox-grub': 'kernel',
  'busybox-grub-menu': 'kernel',
  'busybox-screen': 'kernel',
  'busybox-syslinux': 'kernel',
  'busybox-systemd-boot': 'kernel',
  'busybox-uki': 'kernel',
  'busybox-uki-systemd-boot': 'kernel',
} as const;

export type ForeignImage = keyof typeof SOURCES;

/** Returns a cached image from another builder. The passwords of root, plain and wheel (who may use sudo) are "foreign", the
 *  passphrase of a disk is "correct horse". Runs: mmdebstrap, and the programs in the image's script. */
export async function foreignImage(name: ForeignImage): Promise<string> {
  const source = await sourceOf(SOURCES[name]);
  const scripts = ['image.sh', 'disk.sh', 'loaders.sh', 'systems.sh', 'unified-kernel-image.py', `images/${name}.sh`];
  const directory = await cachedDirectory(`foreign-${name}-${await hashOf(scripts, source)}`, (made) =>
    script('image.sh', [name, join(made, 'foreign.img'), source]),
  );
  return join(directory, 'foreign.img');
}

/** Returns a tar with a release's tree, which all of its images share; or a kernel and the path of its modules. */
async function sourceOf(source: (typeof SOURCES)[ForeignImage]): Promise<string> {
  if (source === 'kernel') {
    const { kernel, modules } = await distributionKernel();
    return `${kernel}:${modules}`;
  }
  const directory = await cachedDirectory(
    `foreign-${source}-${await hashOf(['tree.sh', 'finish-tree.sh'], source)}`,
    (made) => script('tree.sh', [source, join(made, 'tree.tar')]),
  );
  return join(directory, 'tree.tar');
}

async function hashOf(files: readonly string[], source: string): Promise<string> {
  const hash = createHash('sha256').update(source);
  for (const file of files) hash.update(await readFile(join(import.meta.dirname, file)));
  return hash.digest('hex').slice(0, 16);
}

async function script(name: string, args: readonly string[]): Promise<void> {
  const result = await localExecutor.run(['sh', join(import.meta.dirname, name), ...args]);
  expect(result.exitCode, result.stderr.toString('utf8')).toBe(0);
}
