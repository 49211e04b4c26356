import { beforeAll, expect, test } from 'vitest';
import { planBuild } from '../../../../lib/build/plan.ts';
import { type ImageSpecInput, parseImageSpec } from '../../../../lib/spec/image-spec.ts';
import { type DemoSystems, prepareDemo } from '../../../../vm-images/demo.ts';

let demo: DemoSystems;
beforeAll(async () => {
  demo = await prepareDemo();
});

const plan = (system: string, more: Omit<ImageSpecInput, 'toplevel'> = {}) =>
  planBuild(parseImageSpec({ toplevel: demo.systems[system], store: demo.store, ...more }));
const contents = [{ source: '/x', target: '/x', user: 'alice', group: 'users' }];

test('make-disk-image’s way needs a builder, and every phase has a reason', async () => {
  const made = await plan('tiny-grub-bios', { contents });
  expect(made).toMatchObject({
    ...{ closure: 'in place', bootLoader: 'switch-to-configuration', bootFilesystems: 'none', owners: 'activated' },
    needsBuilder: true,
  });
  expect(made.phases.map(({ phase }) => phase)).toEqual([
    'closure',
    'root filesystem',
    'boot filesystems',
    'boot loader',
    'owners of contents',
    'machine-id',
    'times and identifiers',
    'format',
  ]);
  for (const { way, why } of made.phases) expect([way, why].every((text) => text.length > 3)).toBe(true);
});

test.each([
  ['tiny-grub-bios', 'legacy', 'grub', /is for BIOS alone/],
  ['tiny-grub-hybrid', 'hybrid', 'grub', /the system's own installer is install-grub\.sh/],
  ['tiny-systemd-boot', 'efi', 'systemd-boot', /the system's own installer is install-systemd-boot\.sh/],
  ['tiny-none', 'none', 'none', /has no place for one/],
] as const)('without a VM, %s on %s gets %s', async (system, partitionTableType, loader, why) => {
  const made = await plan(system, { bootLoaderFrom: 'bootspec', partitionTableType, contents });
  expect(made).toMatchObject({ bootLoader: loader, owners: 'declared', needsBuilder: false });
  expect(made.phases.find(({ phase }) => phase === 'boot loader')?.why).toMatch(why);
});

test('a loader that cannot be told must be named', async () => {
  await expect(plan('tiny-none', { bootLoaderFrom: 'bootspec', partitionTableType: 'efi' })).rejects.toThrow(
    /bootLoader: is needed[\s\S]*"grub" or "systemd-boot"/,
  );
  const named = await plan('tiny-none', { bootLoaderFrom: 'bootspec', partitionTableType: 'efi', bootLoader: 'grub' });
  expect(named.bootLoader).toBe('grub');
});
