import { expect, test } from 'vitest';
import { chooseFirmware } from '../../../../harness/qemu/firmware.ts';

const descriptor = (over: object = {}): string =>
  JSON.stringify({
    description: 'UEFI',
    'interface-types': ['uefi'],
    mapping: {
      device: 'flash',
      executable: { filename: '/code', format: 'raw' },
      'nvram-template': { filename: '/vars', format: 'raw' },
    },
    targets: [{ architecture: 'x86_64', machines: ['pc-i440fx-*', 'pc-q35-*'] }],
    features: ['acpi-s3', 'verbose-dynamic'],
    ...over,
  });

test('accepts a plain UEFI descriptor for q35', () => {
  expect(chooseFirmware('f', descriptor())).toMatchObject({
    code: '/code',
    variablesTemplate: '/vars',
  });
});

test.each([
  ['SMM', { features: ['requires-smm'] }, 'requires-smm'],
  ['enrolled keys', { features: ['enrolled-keys'] }, 'enrolled-keys'],
  [
    'another architecture',
    { targets: [{ architecture: 'aarch64', machines: ['virt-*'] }] },
    'is not for x86_64 q35 machines',
  ],
  ['a BIOS', { 'interface-types': ['bios'] }, 'is not UEFI'],
  ['memory mapping', { mapping: { device: 'memory' } }, 'is not flash firmware with a template for its variables'],
])('refuses %s', (_, over, why) => {
  expect(chooseFirmware('f', descriptor(over))).toBe(why);
});

test('says why a file is not a descriptor', () => {
  expect(chooseFirmware('f', '{')).toBe('is not JSON');
  expect(chooseFirmware('f', '{}')).toMatch(/is not a firmware descriptor/);
});
