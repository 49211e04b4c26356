import { commandCheck } from 'nixos-disk-image/harness';
import { expect, test } from 'nixos-disk-image/harness/vitest';

const image = process.env.IMAGE ?? 'images/nixos.img';

test.each(['bios', 'efi'] as const)('boots with %s', async (firmware) => {
  await expect(image).toBoot({ firmware, checks: [commandCheck('test -e /run/current-system')] });
});

test('keeps a file over a restart', async ({ machine }) => {
  const vm = await machine({ image, firmware: 'efi' });
  await vm.login();
  await vm.succeed('echo kept > /var/kept && sync');
  await vm.reboot();
  await vm.login();
  expect(await vm.succeed('cat /var/kept')).toBe('kept');
});
