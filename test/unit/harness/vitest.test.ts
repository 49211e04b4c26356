import { describe } from 'vitest';
import { type BootExpectation, expect, test } from '../../../harness/vitest.ts';

// Refused before anything is looked at or booted.

describe.each([
  ['a number', 42, /^toBoot: image: must be the path of a disk image; it is number$/],
  ['nothing', undefined, /it is undefined$/],
  ['an empty name', '', /it is ""$/],
  ['what buildImage returns', { image: 'nixos.img' }, /it is an object; did you mean its "image"\?$/],
])('%s is not an image', (_, image, message) => {
  test('for toBoot', async () => {
    await expect(expect(image).toBoot({ firmware: 'efi' })).rejects.toThrow(message);
  });

  test('nor for a test that expects no boot', async () => {
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

test('toFailBooting needs the name of a failure', async () => {
  const attempt = expect('a.img').toFailBooting({ firmware: 'efi' } as unknown as string, { firmware: 'efi' });
  await expect(attempt).rejects.toThrow(/^toFailBooting: failure: must be the name of a failure, .*; it is an object$/);
});
