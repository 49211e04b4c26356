import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { packageFile } from '../../../harness/cache-directory.ts';
import { equalCheck } from '../../../harness/verify/checks.ts';
import { verifyBoot } from '../../../harness/verify/verify-boot.ts';
import { buildImage } from '../../../lib/build/build-image.ts';
import { readDisko } from '../../../lib/spec/disko.ts';
import { prepareDemo } from '../../../vm-images/demo.ts';
import { tempDirectory } from '../../helpers/temp-directory.ts';

// Disks as disko describes them. test/tool/lib/spec/disko.test.ts compares their tables with those of sgdisk.

test.each([
  ['swap', 'tiny-systemd-boot', 'efi', '/dev/vda2'],
  ['xfs', 'tiny-systemd-boot', 'efi', '/dev/vda2'],
  ['btrfs', 'tiny-systemd-boot', 'efi', '/dev/vda2'],
  ['spaces', 'tiny-systemd-boot', 'efi', '/dev/vda2'],
  ['long-name', 'tiny-systemd-boot', 'efi', '/dev/vda2'],
  ['unformatted', 'tiny-systemd-boot', 'efi', '/dev/vda3'],
  ['priorities', 'tiny-systemd-boot', 'efi', '/dev/vda1'],
  ['odd-sizes', 'tiny-systemd-boot', 'efi', '/dev/vda5'],
  ['luks', 'tiny-systemd-boot-luks', 'efi', '/dev/mapper/cryptroot'],
  ['hybrid', 'tiny-grub-hybrid', 'bios', '/dev/vda3'],
  ['hybrid', 'tiny-grub-hybrid', 'efi', '/dev/vda3'],
  ['gpt-bios', 'tiny-grub-bios', 'bios', '/dev/vda2'],
] as const)('%s with %s boots by %s', async (name, system, firmware, root) => {
  const { store, systems } = await prepareDemo();
  const outDir = await tempDirectory();
  const { devices } = JSON.parse(await readFile(packageFile(`test/fixtures/disko/${name}.json`), 'utf8'));
  const file = join(outDir, 'disko.json');
  await writeFile(file, JSON.stringify(devices));
  const passphraseFile = join(outDir, 'passphrase');
  await writeFile(passphraseFile, 'correct horse');
  const { image } = await buildImage({
    ...{ toplevel: systems[system] ?? '', store, outDir, bootLoaderFrom: 'bootspec', bootLoaderTimeout: 0 },
    ...(await readDisko({ file, passphraseFile })),
  });
  const checks = [equalCheck('the root', "df / | tail -n +2 | tr -s ' \\n' ' ' | cut -d' ' -f1", root)];
  const passphrase = name === 'luks' ? 'correct horse' : undefined;
  const report = await verifyBoot({ image, firmware, checks, passphrase });
  expect(report.ok, JSON.stringify(report.failure)).toBe(true);
});
