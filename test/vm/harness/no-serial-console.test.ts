import { expect, test } from 'vitest';
import { verifyBoot } from '../../../harness/verify/verify-boot.ts';
import { ROOT } from '../../helpers/foreign/foreign-boots.ts';
import { foreignImage } from '../../helpers/foreign/foreign-image.ts';

test.each([
  'bios',
  'efi',
] as const)('without a serial console the verdict is based on the screen: %s', async (firmware) => {
  const image = await foreignImage('busybox-screen');
  const asked = await verifyBoot({ image, firmware, login: ROOT });
  expect(asked.failure, asked.console.slice(-20).join('\n')).toMatchObject({
    name: 'no-serial-console',
    stage: 'login',
  });
  expect(asked.failure?.lastLines.join('\n')).toMatch(/foreign login/);

  const trusted = await verifyBoot({ image, firmware, login: false });
  expect(trusted.failure).toBeUndefined();
  expect(trusted.warnings.join('\n')).toMatch(/based on the screen/);
});
