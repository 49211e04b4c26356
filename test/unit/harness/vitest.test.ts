import { describe } from 'vitest';
import { type BootExpectation, expect, test } from '../../../harness/vitest.ts';

// The matchers check their arguments before they inspect or boot an image.

describe.each([
  ['a number', 42, /^toBoot: image: must be the path of a disk image; it is number$/],
  ['nothing', undefined, /it is undefined$/],
  ['an empty name', '', /it is ""$/],
  ['the result of buildImage', { image: 'nixos.img' }, /it is an object; did you mean its "image"\?$/],
])('%s is not an image', (_, image, message) => {
  test('toBoot refuses it', async () => {
    await expect(expect(image).toBoot({ firmware: 'efi' })).rejects.toThrow(message);
  });

  test('a test that expects the boot to fail refuses it too', async () => {
    const refused = { code: 'E_INVALID_OPTIONS' };
    await expect(expect(image).not.toBoot({ firmware: 'efi' })).rejects.toMatchObject(refused);
    await expect(expect(image).toFailBooting('no-boot-code', { firmware: 'efi' })).rejects.toMatchObject(refused);
    await expect(expect(image).not.toFailBooting('hang', { firmware: 'efi' })).rejects.toMatchObject(refused);
  });
});

test.each([
  [undefined, /^toBoot: requires options with the firmware to boot: toBoot\(\{ firmware: 'efi' \}\)$/],
  [{ firmware: 'efi', image: 'b.img' }, /^toBoot: image: is the argument of expect\(\)/],
])('toBoot refuses %j', async (expectation, message) => {
  const attempt = expect('a.img').toBoot(expectation as BootExpectation);
  await expect(attempt).rejects.toThrow(message);
});

test('toFailBooting requires the name of a failure', async () => {
  const attempt = expect('a.img').toFailBooting({ firmware: 'efi' } as unknown as string, { firmware: 'efi' });
  await expect(attempt).rejects.toThrow(/^toFailBooting: failure: must be the name of a failure, .*; it is an object$/);
});
