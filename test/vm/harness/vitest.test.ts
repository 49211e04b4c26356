import { beforeAll, describe } from 'vitest';
import {
  checkFreshMachineId,
  checkOwnership,
  checkRootClean,
  checkRootGrowable,
  checkTimeToLogin,
} from '../../../harness/verify/checks.ts';
import { checkSecureBoot } from '../../../harness/verify/security-checks.ts';
import { check, expect, test } from '../../../harness/vitest.ts';
import type { BuiltImage } from '../../../lib/build/build-image.ts';
import { MIB } from '../../../lib/units.ts';
import { demoImage } from '../../helpers/demo-image.ts';
import { tempDirectory } from '../../helpers/temp-directory.ts';

// Uses the fixtures and matchers in the same way as tests of users.

let image: BuiltImage;
beforeAll(async () => {
  image = await demoImage('demo-systemd-boot', {
    partitionTableType: 'efi',
    bootLoaderFrom: 'bootspec',
    bootLoaderTimeout: 0,
  });
});

test('an image boots and its checks pass', async () => {
  const baseline = `${await tempDirectory()}/baseline.json`;
  await expect(image.image).toBoot({
    firmware: 'efi',
    diskBytes: image.virtualBytes + 64 * MIB,
    checks: [
      checkRootClean,
      checkRootGrowable,
      checkFreshMachineId(),
      checkSecureBoot('off'),
      checkOwnership([
        { path: '/etc', owner: 'root:root', mode: '755' },
        { path: '/tmp', owner: '0:0', mode: '1777' },
      ]),
      checkTimeToLogin(baseline),
      check('time to login again', (machine) => checkTimeToLogin(baseline).run(machine)),
    ],
  });
});

test('an image that cannot boot with a BIOS fails for that reason', async () => {
  await expect(image.image).toFailBooting('no-boot-code', { firmware: 'bios' });
});

describe('a failed check says what it found', () => {
  test.each([
    ['ownership', checkOwnership([{ path: '/etc', owner: 'nobody' }]), /\/etc is root:root \(0:0\), not nobody/],
    ['secure boot', checkSecureBoot('on'), /expected "on", found "off"/],
  ])('%s', async (_, wrong, message) => {
    await expect(expect(image.image).toBoot({ firmware: 'efi', checks: [wrong] })).rejects.toThrow(message);
  });
});

test('a machine has the methods of the NixOS test driver', async ({ machine }) => {
  const vm = await machine({ image: image.image, firmware: 'efi', forwardPorts: [] });
  await vm.login();
  await vm.waitForUnit('multi-user.target');
  await expect(vm.waitForUnit('no-such.service', { timeoutMs: 3000 })).rejects.toMatchObject({
    code: 'E_WAIT_TIMEOUT',
  });
  await vm.succeed('(sleep 2; touch /tmp/there) > /dev/null 2>&1 &');
  await vm.waitUntilSucceeds('[ -e /tmp/there ]');
  await vm.fail('[ -e /tmp/not-there ]');
  const { width, png } = await vm.screenshot();
  expect(width).toBeGreaterThan(600);
  expect(png.subarray(1, 4).toString()).toBe('PNG');

  // Back to the snapshot, without a boot.
  await vm.save('before');
  await vm.succeed('touch /changed');
  await vm.restore('before');
  await vm.fail('[ -e /changed ]');

  await vm.reboot();
  expect(await vm.succeed('cat /proc/uptime | cut -d. -f1')).toMatch(/^\d+$/);
  expect((await vm.shutdown()).reason).toBe('guest-shutdown');
});
