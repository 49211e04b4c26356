import { join } from 'node:path';
import { expect, test } from 'vitest';
import { verifyBoot } from '../../../harness/verify/verify-boot.ts';
import { ROOT } from '../../helpers/foreign/foreign-boots.ts';
import { foreignImage } from '../../helpers/foreign/foreign-image.ts';
import { run } from '../../helpers/run.ts';
import { tempDirectory } from '../../helpers/temp-directory.ts';

/** The offset of the root in the image debian-12: after 1 MiB for the table, 1 MiB for GRUB and an ESP of 4 MiB. */
const DEBIAN_12_ROOT = 6 << 20;

test.each([
  'bios',
  'efi',
] as const)('without a serial console the verdict is based on the screen: %s', async (firmware) => {
  const directory = await tempDirectory();
  const silent = join(directory, 'silent.img');
  await run(['cp', '--sparse=always', await foreignImage('debian-12'), silent]);
  const at = `./silent.img?offset=${DEBIAN_12_ROOT}`;
  await run(['debugfs', '-R', 'dump /boot/grub/grub.cfg grub.cfg', at], { cwd: directory });
  await run(['sed', '-i', 's/ console=ttyS0,115200//', 'grub.cfg'], { cwd: directory });
  const input = 'rm /boot/grub/grub.cfg\ncd /boot/grub\nwrite grub.cfg grub.cfg\n';
  await run(['debugfs', '-w', '-f', '-', at], { cwd: directory, input });

  const asked = await verifyBoot({ image: silent, firmware, login: ROOT });
  expect(asked.failure, asked.console.slice(-20).join('\n')).toMatchObject({
    name: 'no-serial-console',
    stage: 'login',
  });

  const trusted = await verifyBoot({ image: silent, firmware, login: false });
  expect(trusted.failure).toBeUndefined();
  expect(trusted.warnings.join('\n')).toMatch(/based on the screen/);
});
