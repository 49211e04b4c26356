import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { planBuild } from '../../../../lib/build/plan.ts';
import { type ImageSpecInput, parseImageSpec } from '../../../../lib/spec/image-spec.ts';
import { type DemoSystems, prepareDemo } from '../../../../vm-images/demo.ts';
import { fakeSystem } from '../../../helpers/fake-system.ts';
import {
  GRUB_BOTH_CONFIG,
  GRUB_EFI_CONFIG,
  grubFiles,
  otherInstallerFiles,
  systemdBootFiles,
} from '../../../helpers/nixos-loader.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

let demo: DemoSystems;
beforeAll(async () => {
  demo = await prepareDemo();
});

const plan = (system: string, more: Omit<ImageSpecInput, 'toplevel'> = {}) =>
  planBuild(parseImageSpec({ toplevel: demo.systems[system], store: demo.store, ...more }));
const contents = [{ source: '/x', target: '/x', user: 'alice', group: 'users' }];

test('the way of make-disk-image needs a builder, and every phase has a reason', async () => {
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
  ['tiny-grub-bios', 'legacy', 'grub', /the system's own installer is install-grub\.sh/],
  ['tiny-grub-hybrid', 'hybrid', 'grub', /the system's own installer is install-grub\.sh/],
  ['tiny-systemd-boot', 'efi', 'systemd-boot', /the system's own installer is install-systemd-boot\.sh/],
  ['tiny-none', 'none', 'none', /the system is configured without a boot loader/],
  ['tiny-none', 'legacy', 'none', /the system is configured without a boot loader/],
] as const)('without a VM, %s on %s gets %s', async (system, partitionTableType, loader, why) => {
  const made = await plan(system, { bootLoaderFrom: 'bootspec', partitionTableType, contents });
  expect(made).toMatchObject({ bootLoader: loader, owners: 'declared', needsBuilder: false });
  expect(made.phases.find(({ phase }) => phase === 'boot loader')?.why).toMatch(why);
});

/** Plans a build of a system that has only the files that the plan reads. */
async function planFor(files: Record<string, string>, options: object) {
  const system = await fakeSystem(join(await tempDirectory(), 'store'), { files });
  return planBuild({ toplevel: system.toplevel, store: system.store, bootLoaderFrom: 'bootspec', ...options });
}

/** A store without one of its files. */
function without(files: Record<string, string>, name: string): Record<string, string> {
  return Object.fromEntries(Object.entries(files).filter(([path]) => !path.endsWith(`-${name}`)));
}

test('the system’s settings for a loader other than the chosen one have no effect', async () => {
  const files = systemdBootFiles({ after: 'true' });
  const made = await planFor(files, { partitionTableType: 'efi', bootLoader: 'grub' });
  expect(made).toMatchObject({ bootLoader: 'grub', firmware: ['efi'] });
});

test('a loader that cannot be detected must be named', async () => {
  await expect(planFor({}, { partitionTableType: 'efi' })).rejects.toThrow(
    /bootLoader: is required[\s\S]*"grub" or "systemd-boot"/,
  );
  const named = await planFor({}, { partitionTableType: 'efi', bootLoader: 'grub' });
  expect(named).toMatchObject({ bootLoader: 'grub', firmware: ['efi'] });
});

test.each<[string, () => Promise<Record<string, string>>, string, unknown]>([
  ['BIOS alone', () => grubFiles(), 'hybrid', ['bios']],
  ['EFI alone', () => grubFiles(GRUB_EFI_CONFIG), 'hybrid', ['efi']],
  ['both', () => grubFiles(GRUB_BOTH_CONFIG), 'hybrid', ['bios', 'efi']],
  ['no device: only the menu', () => grubFiles({ devices: ['nodev'], grub: '' }), 'none', []],
  ['no device on an MBR', () => grubFiles({ devices: ['nodev'], grub: '' }), 'legacy', []],
])('GRUB is installed for the system’s firmware: %s', async (_, files, partitionTableType, firmware) => {
  expect(await planFor(await files(), { partitionTableType })).toMatchObject({ bootLoader: 'grub', firmware });
});

test.each<[string, () => Record<string, string> | Promise<Record<string, string>>, object, RegExp]>([
  [
    'GRUB on a device of a disk for EFI',
    () => grubFiles(),
    { partitionTableType: 'efi' },
    /boot\.loader\.grub\.devices/,
  ],
  [
    'GRUB on a device without a table',
    () => grubFiles(),
    { partitionTableType: 'none' },
    /"nodev" installs only the menu/,
  ],
  ['GRUB for EFI without an ESP', () => grubFiles(GRUB_EFI_CONFIG), { partitionTableType: 'legacy' }, /efiSupport/],
  [
    'an ESP that is mounted elsewhere',
    () => grubFiles({ ...GRUB_EFI_CONFIG, efiSysMountPoint: '/boot/efi' }),
    { partitionTableType: 'efi' },
    /efiSysMountPoint: is \/boot\/efi, but the ESP of partitionTableType "efi" is \/boot/,
  ],
  [
    'systemd-boot without EFI',
    () => systemdBootFiles(),
    { partitionTableType: 'legacy' },
    /needs?[\s\S]*systemd-boot|systemd-boot needs/,
  ],
  [
    'systemd-boot with another ESP',
    () => systemdBootFiles({ esp: '/efi' }),
    { partitionTableType: 'efi' },
    /efiSysMountPoint/,
  ],
  [
    'systemd-boot without XBOOTLDR',
    () => systemdBootFiles({ esp: '/efi' }),
    { partitionTableType: 'efixbootldr' },
    /xbootldrMountPoint: implies the boot partition \/efi, but that of partitionTableType "efixbootldr" is \/boot/,
  ],
  [
    'limine',
    () => otherInstallerFiles('limine-install.py'),
    {},
    /only limine-install\.py can install the boot loader[\s\S]*switch-to-configuration/,
  ],
  [
    'GRUB’s style for systemd-boot',
    () => systemdBootFiles(),
    { partitionTableType: 'efi', timeoutStyle: 'hidden' },
    /timeoutStyle: is an option of grub/,
  ],
  ['systemd-boot’s editor for GRUB', () => grubFiles(), { editor: false }, /editor: is an option of systemd-boot/],
  [
    'the system’s commands',
    () => systemdBootFiles({ after: 'true' }),
    { partitionTableType: 'efi' },
    /extraInstallCommands/,
  ],
  [
    'settings that are not in the store',
    async () => without(await grubFiles(), 'grub-config.xml'),
    {},
    /boot\.loader\.grub: cannot be read from \/nix\/store\/.*-grub-config\.xml/,
  ],
  [
    'settings in an unknown format',
    () => grubFiles({ devices: '/dev/sda' as never }),
    {},
    /boot\.loader\.grub: cannot be read from .*: devices: [\s\S]*switch-to-configuration/,
  ],
  [
    'a script with extra files that is not in the store',
    async () => without(systemdBootFiles(), 'copy-extra-files'),
    { partitionTableType: 'efi' },
    /extraFiles: cannot be read from \/nix\/store\/.*-copy-extra-files/,
  ],
])('refused before anything is created: %s', async (_, files, options, message) => {
  await expect(planFor(await files(), options)).rejects.toThrow(message);
});

test('a system without a loader gets none, in every layout', async () => {
  for (const partitionTableType of ['legacy', 'efi', 'hybrid'])
    expect(await planFor(otherInstallerFiles('no-bootloader'), { partitionTableType })).toMatchObject({
      bootLoader: 'none',
    });
});
