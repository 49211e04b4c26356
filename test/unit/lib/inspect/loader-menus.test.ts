import { expect, test } from 'vitest';
import { parseGrubMenu } from '../../../../lib/inspect/grub-menu.ts';
import { compareVersions } from '../../../../lib/inspect/systemd-boot.ts';

const CONFIG = `
if [ "\${next_entry}" ] ; then
   set default="\${next_entry}"
else
   set default="DEFAULT"
fi
set timeout=5
menuentry 'First {1}' --class os --id first {
  linux ($drive1)//kernels/one root=/dev/vda1 quiet
  initrd ($drive1)//kernels/one-initrd /more
}
submenu "Others" --id others {
  menuentry "Second" --id second {
    linux /two console=ttyS0
  }
  menuentry "Third" {
    linux /three
  }
}
menuentry "Fourth" {
  linux16 /four
}
`;

function chosen(wanted: string): string | undefined {
  const { entries } = parseGrubMenu('grub/grub.cfg', 1, CONFIG.replace('DEFAULT', wanted));
  const defaults = entries.filter(({ isDefault }) => isDefault);
  expect(defaults).toHaveLength(1);
  return defaults[0]?.title;
}

test.each([
  ['0', 'First {1}'],
  ['1', 'Second'],
  ['1>1', 'Third'],
  ['2', 'Fourth'],
  ['second', 'Second'],
  ['Others>Third', 'Third'],
  ['Fourth', 'Fourth'],
  ['7', 'First {1}'],
  ['no such entry', 'First {1}'],
])('the default %s of a grub.cfg is the entry %s', (wanted, title) => {
  expect(chosen(wanted)).toBe(title);
});

test('a GRUB entry has its kernel, its initrds and its parameters', () => {
  expect(parseGrubMenu('grub/grub.cfg', 1, CONFIG).entries[0]).toMatchObject({
    linux: '/kernels/one',
    initrd: ['/kernels/one-initrd', '/more'],
    options: 'root=/dev/vda1 quiet',
  });
});

test('a menu that waits forever is distinguished from one that waits in a branch', () => {
  expect(parseGrubMenu('g', 1, 'set timeout=-1\n').waitsForEver).toBe(true);
  expect(parseGrubMenu('g', 1, 'set timeout=-1\nset timeout=5\n').waitsForEver).toBe(false);
  // NixOS: with an entry chosen for one boot, the timeout is one second.
  const nixos =
    'if [ "$next_entry" ]; then\n  set timeout=1\nelse\n  set timeout=-1\nfi\nmenuentry "x" {\n  set timeout=3\n}\n';
  expect(parseGrubMenu('g', 1, nixos).waitsForEver).toBe(true);
});

test.each([
  ['nixos-generation-10.conf', 'nixos-generation-9.conf'],
  ['6.12.9', '6.12.9~rc1'],
  ['6.12.9.1', '6.12.9'],
  ['122.1', '123~rc1'].reverse() as [string, string],
  ['1.2.3', '1.2-3'],
  ['b', 'a'],
])('the version %s is newer than %s', (newer, older) => {
  expect(compareVersions(newer, older)).toBe(1);
  expect(compareVersions(older, newer)).toBe(-1);
});
