import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';
import { distributionKernel } from '../../../harness/builder/builder-kernel.ts';
import { cachedDirectory } from '../../../harness/cache-directory.ts';
import { localExecutor } from '../../../lib/run/local-executor.ts';

/** The images that other builders made, and what each is made of: a release's tree, or a kernel with busybox. */
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

/** An image that another builder made, kept in the cache: the passwords of root, plain and wheel (who may sudo) are "foreign",
 *  a disk's passphrase is "correct horse". Runs: mmdebstrap, and what the image's script names. */
export async function foreignImage(name: ForeignImage): Promise<string> {
  const source = await sourceOf(SOURCES[name]);
  const scripts = ['image.sh', 'disk.sh', 'loaders.sh', 'systems.sh', 'unified-kernel-image.py', `images/${name}.sh`];
  const directory = await cachedDirectory(`foreign-${name}-${await hashOf(scripts, source)}`, (made) =>
    script('image.sh', [name, join(made, 'foreign.img'), source]),
  );
  return join(directory, 'foreign.img');
}

/** The tar of a release's tree, which all of its images are made of; or a kernel and where its modules are. */
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
