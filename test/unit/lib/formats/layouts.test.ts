import { expect, test } from 'vitest';
import {
  bootPartitionStartBytes,
  findPartition,
  PARTITION_TABLE_TYPES,
  partedScript,
} from '../../../../lib/formats/layouts.ts';
import { MIB } from '../../../../lib/units.ts';

const BOOT = 256 * MIB;

test.each([
  ['legacy', 'mklabel msdos mkpart primary ext4 1MiB 100%'],
  ['legacy+boot', 'mklabel msdos mkpart primary fat32 1MiB 256MiB set 1 boot on mkpart primary ext4 256MiB 100%'],
  ['legacy+gpt', 'mklabel gpt mkpart no-fs 1MiB 2MiB set 1 bios_grub on mkpart primary ext4 2MiB 100%'],
  ['efi', 'mklabel gpt mkpart ESP fat32 8MiB 256MiB set 1 boot on mkpart primary ext4 256MiB 100%'],
  [
    'efixbootldr',
    'mklabel gpt mkpart ESP fat32 8MiB 100MiB set 1 boot on mkpart BOOT fat32 100MiB 256MiB set 2 bls_boot on mkpart ROOT ext4 256MiB 100%',
  ],
  [
    'hybrid',
    'mklabel gpt mkpart ESP fat32 8MiB 256MiB set 1 boot on mkpart no-fs 34s 2048s set 2 bios_grub on mkpart primary ext4 256MiB 100%',
  ],
  ['none', ''],
] as const)('the parted script of %s', (type, script) => {
  expect(partedScript(type, BOOT).join(' ')).toBe(script);
});

test('bootSize is rounded up to a whole MiB', () => {
  expect(partedScript('efi', 100 * MIB + 1)).toContain('101MiB');
});

test('root partition numbers are those of make-disk-image', () => {
  const numbers = PARTITION_TABLE_TYPES.map((type) => findPartition(type, 'root')?.number);
  expect(numbers).toEqual([1, 2, 2, 2, 3, 3, undefined]);
});

test('the offset of the boot partition', () => {
  expect(bootPartitionStartBytes('efi')).toBe(8 * MIB);
  expect(bootPartitionStartBytes('efixbootldr')).toBe(100 * MIB);
  expect(bootPartitionStartBytes('legacy+boot')).toBe(MIB);
  expect(bootPartitionStartBytes('legacy')).toBeUndefined();
});
