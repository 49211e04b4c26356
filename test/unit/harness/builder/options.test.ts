import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { startBuilderVm } from '../../../../harness/builder/builder-vm.ts';
import { containerExecutor } from '../../../../harness/builder/container-executor.ts';
import { planBuild } from '../../../../lib/build/plan.ts';

// Neither QEMU nor a container engine is available here, so nothing can start.
beforeEach(() => {
  vi.stubEnv('PATH', '/nowhere');
  vi.stubEnv('DOCKER_HOST', 'unix:///nowhere');
});
afterEach(() => vi.unstubAllEnvs());

const toplevel = '/nix/store/00000000000000000000000000000000-nixos-system';

test.each([
  [
    'startBuilderVm',
    startBuilderVm,
    { image: 'a.img', memorySizeMiB: 1 },
    /^startBuilderVm: memorySizeMiB: .*did you mean "memSizeMiB"\?$/,
  ],
  ['startBuilderVm', startBuilderVm, { image: 'a.img', memSizeMiB: '1G' }, /memSizeMiB: /],
  ['startBuilderVm', startBuilderVm, { image: 'a.img', memSizeMiB: 8 }, /memSizeMiB: must be at least 64 MiB/],
  ['startBuilderVm', startBuilderVm, { image: 'a.img', cpus: 0 }, /cpus: must be at least 1/],
  ['startBuilderVm', startBuilderVm, { image: 'a.img', accelerator: 'xen' }, /accelerator: /],
  ['startBuilderVm', startBuilderVm, { image: 'a.img', machine: 'virt' }, /machine: /],
  ['startBuilderVm', startBuilderVm, { image: 'a.img', clock: -1 }, /clock: /],
  ['startBuilderVm', startBuilderVm, { image: 'a.img', signal: 'SIGINT' }, /signal: must be an AbortSignal/],
  [
    'startBuilderVm',
    startBuilderVm,
    { image: 'a.img', system: { topLevel: toplevel } },
    /system\.topLevel: .*did you mean "toplevel"\?/,
  ],
  ['startBuilderVm', startBuilderVm, { image: 'a.img', kernel: { kernel: 'vmlinuz' } }, /kernel\.modules: is required/],
  ['startBuilderVm', startBuilderVm, {}, /image: is required/],
  [
    'containerExecutor',
    containerExecutor,
    { image: 'a', directory: ['/tmp'] },
    /^containerExecutor: directory: .*did you mean "directories"\?$/,
  ],
  ['containerExecutor', containerExecutor, { image: 'a', directories: '/tmp' }, /directories: /],
  ['containerExecutor', containerExecutor, { image: 'a', namespaces: 'yes' }, /namespaces: /],
  [
    'containerExecutor',
    containerExecutor,
    { image: 'a', directories: ['/tmp', '/no where'] },
    /directories\[1\]: \/no where: /,
  ],
  ['containerExecutor', containerExecutor, { image: 'a', directories: ['/'] }, /directories\[0\]: cannot be the root/],
  ['containerExecutor', containerExecutor, { image: '' }, /image: must not be empty/],
  [
    'planBuild',
    planBuild,
    { toplevel, partitionTabelType: 'efi' },
    /partitionTabelType: .*did you mean "partitionTableType"\?/,
  ],
  [
    'planBuild',
    planBuild,
    { toplevel, diskSize: 'small' },
    /diskSize: must be "auto", a number of MiB, or an IEC size/,
  ],
])('%s refuses %#', async (_, start, options, message) => {
  const attempt = (start as (options: object) => Promise<unknown>)(options);
  await expect(attempt).rejects.toMatchObject({ code: 'E_INVALID_OPTIONS', message: expect.stringMatching(message) });
});
