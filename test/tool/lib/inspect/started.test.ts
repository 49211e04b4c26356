import { expect, test } from 'vitest';
import type { Finding } from '../../../../lib/inspect/finding.ts';
import { type ImageInspection, inspectImage } from '../../../../lib/inspect/inspect-image.ts';
import { KERNEL, peFile, SYSTEMD_BOOT, uki } from '../../../helpers/pe-file.ts';
import { type Files, makeSmallDisk } from '../../../helpers/small-disk.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

// Firmware starts \EFI\BOOT\BOOTX64.EFI, and that starts an entry: problems with other files are only warnings.

const entry = (kernel: string, more = ''): string => `title Test\nlinux ${kernel}\noptions console=ttyS0\n${more}`;
const GRUB = peFile({ sections: { mods: Buffer.alloc(64) } });
const BOOT = 'EFI/BOOT/BOOTX64.EFI';
const half = (file: Buffer): Buffer => file.subarray(0, file.length >> 1);
const shortened = (file: Buffer): Buffer => file.subarray(0, file.length - 100);

async function inspect(files: Files): Promise<ImageInspection> {
  const { image } = await makeSmallDisk(await tempDirectory(), files);
  return inspectImage({ image });
}

/** The findings about the EFI boot path, without warnings. */
function wrong({ efi }: ImageInspection): string[] {
  return efi.findings
    .filter(({ severity }: Finding) => severity !== 'warning')
    .map(({ code, severity }) => `${code} ${severity}`);
}

const SYSTEMD = {
  [BOOT]: SYSTEMD_BOOT,
  'loader/entries/a.conf': entry('/EFI/nixos/a-kernel.efi', 'initrd /EFI/nixos/a-initrd.efi\n'),
  'EFI/nixos/a-kernel.efi': KERNEL,
  'EFI/nixos/a-initrd.efi': 'an initrd',
};

test('EFI programs are identified by their content', async () => {
  const { efi } = await inspect({
    ...SYSTEMD,
    'EFI/BOOT/BOOTX64_OLD.EFI': shortened(SYSTEMD_BOOT),
    'EFI/Linux/one.efi': uki('console=ttyS0 quiet'),
    'EFI/debian/grubaa64.efi': peFile({ architecture: 'aa64', signed: true, sections: { mods: 'mimg' } }),
    'EFI/tools/text.efi': 'text',
  });
  const told = efi.programs.map(({ file, kind, architecture, signed, complete }) => [
    ...[file, kind, architecture],
    ...[signed ? 'signed' : 'unsigned', complete ? 'whole' : 'cut'],
  ]);
  expect(told.sort()).toEqual([
    ['EFI/BOOT/BOOTX64.EFI', 'systemd-boot', 'x64', 'unsigned', 'whole'],
    ['EFI/BOOT/BOOTX64_OLD.EFI', 'systemd-boot', 'x64', 'unsigned', 'cut'],
    ['EFI/Linux/one.efi', 'uki', 'x64', 'unsigned', 'whole'],
    ['EFI/debian/grubaa64.efi', 'grub', 'aa64', 'signed', 'whole'],
    ['EFI/nixos/a-kernel.efi', 'kernel', 'x64', 'unsigned', 'whole'],
  ]);
  expect(efi.started).toBe(BOOT);
  expect(efi.architectures).toEqual(['x64']);
});

test('a random seed is reported, because every machine from the image would share it', async () => {
  const { efi } = await inspect({ ...SYSTEMD, 'loader/random-seed': 'the same everywhere' });
  expect(efi.findings).toMatchObject([{ code: 'random-seed-shared', severity: 'warning' }]);
});

test.each<[string, Files]>([
  ['systemd-boot in its own directory, cut', { 'EFI/systemd/systemd-bootx64.efi': half(SYSTEMD_BOOT) }],
  ['an old loader', { 'EFI/BOOT/BOOTX64_OLD.EFI': 'nothing' }],
  ['a loader for 32-bit ARM', { 'EFI/BOOT/BOOTARM.EFI': 'nothing' }],
  ['an entry that is not the default', { 'loader/entries/0.conf': entry('/EFI/nixos/gone.efi') }],
  [
    'a kernel of an entry that is not the default',
    { 'loader/entries/0.conf': entry('/old'), old: half(KERNEL), 'loader/loader.conf': 'default a.conf\n' },
  ],
  ['the grub.cfg of a missing loader', { 'grub/grub.cfg': 'menuentry "x" {\nlinux /text\n}\n', text: 'text' }],
  ['a UKI that is not the default', { 'EFI/Linux/0.efi': half(uki('quiet')), 'loader/loader.conf': 'default a*' }],
])('%s is not started and does not make the image bad', async (_, more) => {
  const found = await inspect({ ...SYSTEMD, ...more });
  // The GRUB in this disk's boot sector reads a grub.cfg, but that is the BIOS boot path.
  expect(
    wrong({ ...found, efi: { ...found.efi, findings: found.efi.findings.filter((at) => at.firmware === 'efi') } }),
  ).toEqual([]);
  expect(found.efi.bootEntries.filter(({ isDefault }) => isDefault).map(({ file }) => file)).toContain(
    'loader/entries/a.conf',
  );
  expect(found.serialConsole).toBe(true);
});

test.each<[string, string, Files]>([
  ['loader-cut fatal', 'the loader is truncated', { [BOOT]: half(SYSTEMD_BOOT) }],
  ['loader-damaged fatal', 'the loader is text', { [BOOT]: 'text' }],
  ['loader-damaged fatal', 'the loader is for another machine', { [BOOT]: peFile({ architecture: 'aa64' }) }],
  ['kernel-cut fatal', "the default entry's kernel is truncated", { 'EFI/nixos/a-kernel.efi': half(KERNEL) }],
  ['kernel-damaged fatal', "the default entry's kernel is text", { 'EFI/nixos/a-kernel.efi': 'text' }],
  [
    'kernel-wrong-architecture fatal',
    "the default entry's kernel is for another machine",
    { 'EFI/nixos/a-kernel.efi': peFile({ architecture: 'aa64' }) },
  ],
  [
    'entry-file-missing fatal',
    "the default entry's initrd is missing",
    { 'loader/entries/a.conf': entry('/EFI/nixos/a-kernel.efi', 'initrd /gone') },
  ],
  ['entry-file-missing fatal', 'the only kernel is missing', { 'loader/entries/a.conf': entry('/gone') }],
  ['menu-waits error', 'the menu waits forever', { 'loader/loader.conf': 'timeout menu-force\n' }],
  [
    'entry-file-missing error',
    'the entry that loader.conf names has no kernel, and another is started',
    { 'loader/entries/b.conf': entry('/gone'), 'loader/loader.conf': 'default b.conf\n' },
  ],
  ['loader-cut fatal', 'a UKI that the firmware starts is truncated', { [BOOT]: half(uki('quiet')) }],
  [
    'kernel-damaged fatal',
    'the kernel in a UKI that the firmware starts is text',
    { [BOOT]: peFile({ sections: { '.linux': 'text' } }) },
  ],
  [
    'kernel-cut fatal',
    'the UKI that systemd-boot starts is truncated',
    { 'loader/loader.conf': 'default 0.efi', 'EFI/Linux/0.efi': half(uki('quiet')) },
  ],
  [
    'kernel-cut fatal',
    'the default kernel of grub.cfg is truncated',
    {
      [BOOT]: GRUB,
      'grub/grub.cfg': 'set default=1\nmenuentry "a" {\nlinux /a\n}\nmenuentry "b" {\nlinux /b\n}\n',
      a: KERNEL,
      b: half(KERNEL),
    },
  ],
])('%s: %s', async (name, _, more) => {
  const found = await inspect({ ...SYSTEMD, ...more });
  expect(wrong(found)).toEqual([name]);
});

test('a UKI at the removable media path is started with its embedded parameters', async () => {
  const { efi, serialConsole } = await inspect({ [BOOT]: uki('root=/dev/vda2 quiet') });
  expect(efi.bootEntries).toMatchObject([
    { loader: 'firmware', file: BOOT, options: 'root=/dev/vda2 quiet', isDefault: true },
  ]);
  expect(serialConsole).toBe(false);
  expect((await inspect({ [BOOT]: uki('console=ttyS0') })).serialConsole).toBe(true);
});

test('the newest version is the default if loader.conf names none', async () => {
  const conf = (version: number): string => `${entry('/k')}sort-key nixos\nversion Generation ${version}\n`;
  const { efi } = await inspect({
    ...{ [BOOT]: SYSTEMD_BOOT, k: KERNEL, 'loader/entries/z.conf': conf(9), 'loader/entries/b.conf': conf(10) },
    'loader/entries/bad+0.conf': conf(11),
  });
  expect(efi.bootEntries.filter(({ isDefault }) => isDefault)).toMatchObject([{ file: 'loader/entries/b.conf' }]);
});
