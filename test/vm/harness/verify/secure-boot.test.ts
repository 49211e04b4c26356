import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { verifyBoot } from '../../../../harness/verify/verify-boot.ts';
import type { BuiltImage } from '../../../../lib/build/build-image.ts';
import { removeTree } from '../../../../lib/host-files/private-output.ts';
import {
  type GeneratedSecureBootKeys,
  generateSecureBootKeys,
} from '../../../../lib/steps/generate-secure-boot-keys.ts';
import { demoImage } from '../../../helpers/demo-image.ts';

const EFI = {
  partitionTableType: 'efi',
  bootLoaderFrom: 'bootspec',
  additionalSpace: '64M',
  bootLoaderTimeout: 0,
} as const;
let directory: string;
let keys: GeneratedSecureBootKeys;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'ndi-keys-'));
  keys = await generateSecureBootKeys({ directory: join(directory, 'keys') });
});
afterAll(() => removeTree(directory));

function signed(secureBoot: object, more: object = {}): Promise<BuiltImage> {
  return demoImage('tiny-systemd-boot', { ...EFI, ...more, secureBoot: { ...keys.db, ...secureBoot } });
}

test('a signed unified kernel image boots by the keys in the store that the build wrote', async () => {
  const { image, efiVariables } = await signed(
    { enroll: 'variables' },
    { touchEFIVars: true, efiVariables: '/usr/share/OVMF/OVMF_VARS_4M.fd' },
  );
  const report = await verifyBoot({ image, firmware: 'efi', efiVariables });
  expect(report.failure).toBeUndefined();
  expect(dirname(efiVariables ?? '')).toBe(dirname(image));
});

test.each([
  ['the builder VM', 'tiny-systemd-boot', { bootLoaderFrom: 'switch-to-configuration', bootLoaderTimeout: undefined }],
  ['an XBOOTLDR partition', 'tiny-systemd-boot-xbootldr', { partitionTableType: 'efixbootldr' }],
] as const)('what is signed with %s boots', async (_, system, more) => {
  const { image } = await demoImage(system, { ...EFI, ...more, secureBoot: keys.db });
  const report = await verifyBoot({ image, firmware: 'efi', secureBoot: { enroll: [keys.db.certificate] } });
  expect(report.failure).toBeUndefined();
});

test('a signed kernel boots by a certificate that is enrolled, and its initrd is named as not verified', async () => {
  const { image } = await signed({ way: 'kernel' });
  const report = await verifyBoot({ image, firmware: 'efi', secureBoot: { enroll: [keys.db.certificate] } });
  expect(report.failure).toBeUndefined();
  expect(report.warnings).toContainEqual(expect.stringMatching(/does not verify its initrd/));
});

test('firmware in setup mode enrolls the keys at the first boot', async () => {
  const { image } = await signed({ enroll: 'first-boot' });
  const report = await verifyBoot({ image, firmware: 'efi', secureBoot: 'setup-mode' });
  expect(report).toMatchObject({ failure: undefined, reboots: 1 });
});

test('an image that enrolls no keys is bad in setup mode, although it boots', async () => {
  const { image } = await signed({});
  const { failure } = await verifyBoot({ image, firmware: 'efi', secureBoot: 'setup-mode' });
  expect(failure).toMatchObject({ name: 'secure-boot-setup-mode' });
});

test.each([
  ['unsigned', 'secure-boot-unsigned'],
  ['signed by another key', 'secure-boot-untrusted'],
])('a loader that is %s is refused by the firmware, and named', async (how, name) => {
  const { image } =
    how === 'unsigned' ? await demoImage('tiny-systemd-boot', EFI) : await signed({ ...keys.platformKey });
  const { failure } = await verifyBoot({ image, firmware: 'efi', secureBoot: { enroll: [keys.db.certificate] } });
  expect(failure).toMatchObject({
    name,
    stage: 'firmware',
    cause: expect.stringMatching(/BOOTX64\.EFI.*Access Denied/s),
  });
});
