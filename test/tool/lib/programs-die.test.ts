import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, expect, test, vi } from 'vitest';
import { type BuildImageOptions, buildImage } from '../../../lib/build/build-image.ts';
import { prepareDemo } from '../../../vm-images/demo.ts';
import { expectHostFailure, programsRunBy } from '../../helpers/replaced-programs.ts';
import { tempDirectory } from '../../helpers/temp-directory.ts';

// If one of its programs is killed, for example by the kernel when memory is short, a build reports it and leaves no partial image.

afterEach(() => {
  vi.unstubAllEnvs();
});

test.each([
  ['tiny-grub-hybrid', { partitionTableType: 'hybrid', format: 'qcow2', reproducible: true }],
  ['tiny-systemd-boot', { partitionTableType: 'efi' }],
] as const)('build of %s: each of its programs is killed, or exits with 77', async (system, layout) => {
  const { store, systems } = await prepareDemo();
  const outDir = await tempDirectory();
  const options: BuildImageOptions = {
    ...{ outDir, toplevel: systems[system] ?? '', store, additionalSpace: '32M', bootSize: '140M' },
    ...{ bootLoaderFrom: 'bootspec', ...layout },
  };
  const run = await programsRunBy(() => buildImage({ ...options, outDir: join(outDir, 'good') }));
  expect(run).toEqual(expect.arrayContaining(['flock', 'mcopy', 'mkfs.ext4', 'nix-store', 'parted']));
  for (const name of run) {
    await expectHostFailure(name, () => buildImage({ ...options, outDir: join(outDir, 'bad') }));
    expect(await readdir(join(outDir, 'bad')).catch(() => []), name).toEqual([]);
  }
});
