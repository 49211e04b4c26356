import { mkdtemp, open, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  checkEncrypted,
  checkLockdown,
  checkSecureBoot,
  checkTpm,
} from '../../../../harness/verify/security-checks.ts';
import { verifyBoot } from '../../../../harness/verify/verify-boot.ts';
import { removeTree } from '../../../../lib/host-files/private-output.ts';
import { demoImage } from '../../../helpers/demo-image.ts';

const PASSPHRASE = "it's a correct horse";
const UUID = '0cb5c4d1-6f5a-4e0e-9f43-2d7a6b1e8c90';
let directory: string;
let passphraseFile: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'ndi-passphrase-'));
  passphraseFile = join(directory, 'passphrase');
  await writeFile(passphraseFile, `${PASSPHRASE}\n`);
});
afterAll(() => removeTree(directory));

/** Cheap to open, because the guest is emulated. */
const CHEAP = { type: 'pbkdf2', iterations: 1000 } as const;

test('a root in LUKS2 under GRUB boots with its passphrase, by BIOS and EFI', async () => {
  const { image, encryption } = await demoImage('tiny-grub-hybrid-luks', {
    ...{ partitionTableType: 'hybrid', bootLoaderFrom: 'bootspec', bootLoaderTimeout: 0 },
    encrypt: { passphraseFile, keyDerivation: CHEAP },
  });
  expect(encryption).toMatchObject({ uuid: UUID, sectorBytes: 4096 });
  for (const firmware of ['bios', 'efi'] as const) {
    const report = await verifyBoot({ image, firmware, passphrase: PASSPHRASE });
    expect(report.failure).toBeUndefined();
    // Once: while the initrd verifies it, it asks for nothing.
    expect(report.typed.filter(({ why }) => /passphrase/.test(why))).toHaveLength(1);
    expect(JSON.stringify(report)).not.toContain(PASSPHRASE);
  }
});

test('argon2id, as the builder VM installed it; then the first copy of the header is damaged', async () => {
  const { image, disk } = await demoImage('tiny-systemd-boot-luks', {
    ...{ partitionTableType: 'efi', encrypt: { passphraseFile, keyDerivation: { memory: '64M' } } },
  });
  expect((await verifyBoot({ image, firmware: 'efi', passphrase: PASSPHRASE })).failure).toBeUndefined();
  await using handle = await open(image, 'r+');
  await handle.write(Buffer.alloc(4096), 0, 4096, disk.root.offsetBytes);
  const report = await verifyBoot({ image, firmware: 'efi', passphrase: PASSPHRASE });
  // busybox in its initrd looks for the first copy only; blkid and udev find the second.
  expect(report.failure).toMatchObject({ name: 'luks-header-damaged', stage: 'stage 1' });
  expect(report.warnings).toContainEqual(expect.stringMatching(/LUKS header .* is damaged; .* second copy/));
});

test('an initrd whose init is systemd asks for the passphrase, and gets it', async () => {
  const { image } = await demoImage('tiny-systemd-boot-luks-systemd', {
    ...{ partitionTableType: 'efi', bootLoaderFrom: 'bootspec', bootLoaderTimeout: 0 },
    encrypt: { passphraseFile, keyDerivation: CHEAP },
  });
  const report = await verifyBoot({
    ...{ image, firmware: 'efi', passphrase: PASSPHRASE, checks: [checkEncrypted({ name: 'cryptroot', uuid: UUID })] },
  });
  expect(report.failure).toBeUndefined();
  expect(report.typed[0]?.line).toMatch(/^(?:🔐 )?Please enter passphrase for disk primary \(cryptroot\):/u);
});

test('signed, encrypted, and with a TPM', async () => {
  const { generateSecureBootKeys } = await import('../../../../lib/steps/generate-secure-boot-keys.ts');
  const { db } = await generateSecureBootKeys({ directory: join(directory, 'keys') });
  const { image } = await demoImage('tiny-systemd-boot-luks', {
    ...{ partitionTableType: 'efi', bootLoaderFrom: 'bootspec', bootLoaderTimeout: 0 },
    ...{ encrypt: { passphraseFile, keyDerivation: CHEAP }, secureBoot: db },
  });
  const report = await verifyBoot({
    ...{ image, firmware: 'efi', passphrase: PASSPHRASE, secureBoot: { enroll: [db.certificate] }, tpm: true },
    checks: [checkEncrypted({ name: 'cryptroot', uuid: UUID }), checkSecureBoot('on'), checkLockdown, checkTpm],
  });
  expect(report.failure).toBeUndefined();
  expect(report.checks.map(({ message }) => message)).toEqual([
    `CRYPT-LUKS2-${UUID.replaceAll('-', '')}-cryptroot`,
    ...['on', 'integrity', expect.stringMatching(/^2\.0, PCR 7 [0-9A-F]{64}$/)],
  ]);
});
