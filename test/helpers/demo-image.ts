import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import { startBuilderVm } from '../../harness/builder/builder-vm.ts';
import { type BuildImageOptions, type BuiltImage, buildImage } from '../../lib/build/build-image.ts';
import type { PartitionTableType } from '../../lib/formats/layouts.ts';
import { removeTree } from '../../lib/host-files/private-output.ts';
import { prepareDemo } from '../../vm-images/demo.ts';

/** The smallest demo system for each layout. */
export const SYSTEM_OF_LAYOUT: Readonly<Record<PartitionTableType, string>> = {
  legacy: 'tiny-grub-bios',
  'legacy+boot': 'tiny-grub-bios-boot',
  'legacy+gpt': 'tiny-grub-bios',
  efi: 'tiny-systemd-boot',
  efixbootldr: 'tiny-systemd-boot-xbootldr',
  hybrid: 'tiny-grub-hybrid',
  none: 'tiny-none',
};

const directories: string[] = [];
// Not in demoImage: vitest does not run a hook that is added within another hook or a test.
afterAll(() => Promise.all(directories.map(removeTree)));

/** Builds an image of a demo system for all tests in a file, and removes it after them. */
export async function demoImage(system: string, options: Partial<BuildImageOptions>): Promise<BuiltImage> {
  const { store, systems } = await prepareDemo();
  const outDir = await mkdtemp(join(tmpdir(), 'ndi-image-'));
  directories.push(outDir);
  return buildImage(
    { toplevel: systems[system] ?? '', store, additionalSpace: '64M', bootSize: '128M', ...options, outDir },
    { startBuilder: startBuilderVm },
  );
}
