import { expect, test } from 'nixos-disk-image/harness/vitest';
import { inject } from 'vitest';

test('boots with bios', async () => {
  await expect(inject('image')).toBoot({ firmware: 'bios' });
});
