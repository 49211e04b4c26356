import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { startBuilderVm } from '../../../harness/builder/builder-vm.ts';
import { type BuildImageOptions, buildImage } from '../../../lib/build/build-image.ts';
import { diffImages } from '../../../lib/diff/diff-images.ts';
import { prepareDemo } from '../../../vm-images/demo.ts';
import { tempDirectory } from '../../helpers/temp-directory.ts';

// The same specification gives the same system, whether its installer runs in the builder VM or the loader is installed on this
// host:
// only files that the system's activation creates at every boot differ, because it ran in the VM.

/** Files that the activation of the demo system creates. */
const ACTIVATION = [
  /^\/(bin|sbin|mnt)$/,
  /^\/etc\/(fstab|group|hostname|inittab|issue|mtab|os-release|passwd|profile|securetty|shadow|static)$/,
  /^\/home\/alice$/,
  /^\/var\/(cache|empty|lib|log|run|tmp)$/,
];

test('every option has the same effect both ways', async () => {
  const demo = await prepareDemo();
  const directory = await tempDirectory();
  const source = join(directory, 'source');
  await mkdir(join(source, 'tree'), { recursive: true });
  await writeFile(join(source, 'tree/page'), 'a page\n');
  await symlink('page', join(source, 'tree/link'));
  await writeFile(join(source, 'configuration.nix'), '{ }\n');
  const file = join(source, 'configuration.nix');
  const options: Omit<BuildImageOptions, 'outDir'> = {
    ...{ toplevel: demo.systems['tiny-systemd-boot'] ?? '', store: demo.store, partitionTableType: 'efi' },
    ...{ additionalPaths: [demo.systems['tiny-none'] ?? ''], channel: demo.systems['tiny-grub-bios'] ?? '' },
    ...{ additionalSpace: '64M', bootSize: '140M', label: 'site', configFile: file, baseName: 'both' },
    ...{ rootFSUID: '12345678-1234-1234-1234-123456789abc', rootGPUID: '22345678-1234-1234-1234-123456789abc' },
    rootFSHashSeed: '32345678-1234-1234-1234-123456789abc',
    contents: [
      { source: join(source, 'tree'), target: '/srv/tree', mode: 'u=rwX,go=rX', user: 'nobody', group: 'nogroup' },
      { source: `${source}/*.nix`, target: '/srv/glob', mode: '600' },
      { source: file, target: '/boot/readme' },
      { source: file, target: '/etc/by-number', user: '1234', group: '1235' },
    ],
    reproducible: true,
  };
  const inVm = await buildImage({ ...options, outDir: join(directory, 'vm') }, { startBuilder: startBuilderVm });
  const offline = await buildImage({
    ...options,
    // The timeout of the demo system's own installer.
    ...{ outDir: join(directory, 'offline'), bootLoaderFrom: 'bootspec', bootLoaderTimeout: 0 },
  });
  expect(offline.disk).toEqual(inVm.disk);
  const differences = await diffImages({ a: inVm.image, b: offline.image });
  const unexpected = differences.filter(
    ({ what, field, b }) =>
      !(field === undefined && b === undefined && ACTIVATION.some((pattern) => pattern.test(what))) &&
      // The counters of files.
      !(what === 'superblock' || field === 'links'),
  );
  expect(unexpected).toEqual([]);
  expect(differences.length).toBeGreaterThan(ACTIVATION.length);
});
