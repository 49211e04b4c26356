import { readFileSync } from 'node:fs';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { verifyBoot } from '../../../../harness/verify/verify-boot.ts';
import type { BuiltImage } from '../../../../lib/build/build-image.ts';
import { removeTree } from '../../../../lib/host-files/private-output.ts';
import { enrollSecureBootKeys } from '../../../../lib/steps/enroll-secure-boot-keys.ts';
import {
  type GeneratedSecureBootKeys,
  generateSecureBootKeys,
} from '../../../../lib/steps/generate-secure-boot-keys.ts';
import { signEfiProgram } from '../../../../lib/steps/sign-efi-program.ts';
import { demoImage } from '../../../helpers/demo-image.ts';
import { run } from '../../../helpers/run.ts';
import { BrokenImage } from '../../fault-gallery/broken-image.ts';

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

describe('one image, signed, and then broken', () => {
  let base: BuiltImage;
  beforeAll(async () => {
    base = await signed({});
  });

  const LOADER = /EFI\/BOOT\/BOOTX64\.EFI$/i;
  /** Not the specialisation, which is not started. */
  const KERNEL = /EFI\/Linux\/nixos-generation-1\.efi$/i;
  const changedAt =
    (find: (program: Buffer) => number) =>
    (program: Buffer): Buffer => {
      const at = find(program);
      program[at] = (program[at] ?? 0) ^ 1;
      return program;
    };
  /** In the middle of the initrd, which is the largest section of the UKI behind the kernel. */
  const inInitrd = (program: Buffer): number => program.readUInt32LE(program.indexOf('.initrd\0') + 20) + 1_000_000;
  const withOther = async (image: BrokenImage, file: RegExp, sign: boolean): Promise<void> => {
    const program = join(directory, 'program.efi');
    await writeFile(program, await image.readFromEsp(file));
    await run(['sbattach', '--remove', program]);
    if (sign) await signEfiProgram({ program, target: program, ...keys.keyExchangeKey });
    await image.changeOnEsp(file, () => readFileSync(program));
  };

  test.each<[fault: string, stage: string, name: string, file: RegExp, breakIt: (image: BrokenImage) => Promise<void>]>(
    [
      [
        'a byte of the loader changed',
        'firmware',
        'secure-boot-changed',
        /BOOTX64\.EFI/,
        (image) =>
          image.changeOnEsp(
            LOADER,
            changedAt(() => 0x1000),
          ),
      ],
      [
        'the UKI is not signed',
        'loader',
        'secure-boot-unsigned',
        /EFI\/Linux/,
        (image) => withOther(image, KERNEL, false),
      ],
      [
        'the UKI is signed by another key',
        'loader',
        'secure-boot-untrusted',
        /EFI\/Linux/,
        (image) => withOther(image, KERNEL, true),
      ],
      [
        'the initrd in the UKI changed',
        'loader',
        'secure-boot-changed',
        /EFI\/Linux/,
        (image) => image.changeOnEsp(KERNEL, changedAt(inInitrd)),
      ],
    ],
  )('%s', async (fault, stage, name, file, breakIt) => {
    const image = join(directory, `${fault}.img`);
    await run(['cp', '--sparse=always', base.image, image]);
    await breakIt(new BrokenImage(image, base.disk, base.system.toplevel));
    const { failure } = await verifyBoot({ image, firmware: 'efi', secureBoot: { enroll: [keys.db.certificate] } });
    expect(failure).toMatchObject({ stage, name, cause: expect.stringMatching(file) });
  });

  test('the signer is revoked by dbx', async () => {
    const efiVariables = join(directory, 'revoked.fd');
    await enrollSecureBootKeys({
      ...{ variables: '/usr/share/OVMF/OVMF_VARS_4M.fd', target: efiVariables },
      ...{ platformKey: keys.platformKey.certificate, keyExchangeKeys: [keys.keyExchangeKey.certificate] },
      ...{ db: [keys.db.certificate], dbx: { certificates: [keys.db.certificate] } },
    });
    const { failure } = await verifyBoot({ image: base.image, firmware: 'efi', efiVariables });
    expect(failure).toMatchObject({ stage: 'firmware', name: 'secure-boot-revoked' });
  });
});
