import { join } from 'node:path';
import { expect, test } from 'vitest';
import { findUefiFirmware } from '../../../../harness/qemu/firmware.ts';
import { readVariableStore } from '../../../../lib/host-files/variable-store.ts';
import { writeEfiVariables } from '../../../../lib/steps/write-efi-variables.ts';
import { MIB } from '../../../../lib/units.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

// Of a hard drive's node in a boot entry: UEFI specification 10.3.5.1.
const HARD_DRIVE = Buffer.from([4, 1, 42, 0]);
const START_AT = 8;
const SIZE_AT = 16;

test.each([
  [512, undefined],
  [512, 512],
  [4096, 4096],
] as const)('a boot entry counts in sectors of %s bytes, given %s', async (unit, sectorBytes) => {
  const target = join(await tempDirectory(), 'vars.fd');
  const partition = {
    ...{ number: 1, offsetBytes: 8 * MIB, sizeBytes: 292 * MIB, sectorBytes },
    partitionUuid: '1c06f03b-704e-4657-b9cd-681a087a2fdc',
  };
  const bootEntries = [{ label: 'NixOS', loader: '\\EFI\\BOOT\\BOOTX64.EFI', partition }];
  await writeEfiVariables({ template: (await findUefiFirmware()).variablesTemplate, target, bootEntries });
  const { variables } = await readVariableStore('test', target);
  const data = variables.find(({ name }) => name === 'Boot0000')?.data ?? Buffer.alloc(0);
  const node = data.subarray(data.indexOf(HARD_DRIVE));
  expect(node.readBigUInt64LE(START_AT)).toBe(BigInt((8 * MIB) / unit));
  expect(node.readBigUInt64LE(SIZE_AT)).toBe(BigInt((292 * MIB) / unit));
});
