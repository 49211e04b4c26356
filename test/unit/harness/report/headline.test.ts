import { expect, test } from 'vitest';
import { headline } from '../../../../harness/report/headline.ts';
import { BAD_BOOT, GOOD_BOOT } from '../../../helpers/boot-reports.ts';

const good = GOOD_BOOT;
const bad = { ...BAD_BOOT, image: good.image };
const failed = (stage: string) => ({
  ...good,
  ok: false,
  failure: { ...BAD_BOOT.failure, name: 'x', stage, cause: 'y', lastLines: [] },
});

test.each([
  ['nixos.img boots in legacy BIOS', [good]],
  ['nixos.img boots in legacy BIOS and in EFI', [good, { ...good, firmware: 'efi' as const }]],
  ['nixos.img does not boot in EFI; it boots in legacy BIOS', [good, bad]],
  ['nixos.img does not boot in legacy BIOS or in EFI', [{ ...bad, firmware: 'bios' as const }, bad]],
  ['nixos.img boots by direct kernel boot', [{ ...good, firmware: 'direct' as const }]],
  ['nixos.img boots in EFI, aarch64', [{ ...good, firmware: 'efi' as const, architecture: 'aarch64' as const }]],
  [
    'nixos.img boots in legacy BIOS, but 1 of 2 checks failed',
    [{ ...failed('checks'), checks: [...good.checks, { name: 'a', ok: false, message: '', durationMs: 1 }] }],
  ],
  ['nixos.img boots in legacy BIOS, but does not shut down cleanly', [{ ...failed('shutdown'), cleanShutdown: false }]],
  ['nixos.img boots in legacy BIOS, but something is wrong with it', [failed('image')]],
  ['nixos.img boots in legacy BIOS, but something is wrong with it', [failed('init')]],
  ['nixos.img comes to its login in legacy BIOS, but the login fails', [{ ...failed('login'), cleanShutdown: false }]],
])('%s', (sentence, boots) => {
  expect(headline(boots)).toBe(sentence);
});

const met = { outcome: 'not to boot', met: true };
test.each([
  ['All 2 boots are good', [good, { ...good, image: 'other.img' }]],
  ['1 of 2 boots failed', [good, { ...bad, title: 'another' }]],
  ['The boot went as expected', [{ ...bad, title: 'a', expected: met }]],
  [
    'All 2 boots went as expected',
    [
      { ...bad, title: 'a', expected: met },
      { ...good, title: 'b' },
    ],
  ],
  [
    '1 of 2 boots did not go as expected',
    [
      { ...good, title: 'a', expected: { ...met, met: false } },
      { ...good, title: 'b' },
    ],
  ],
  ['No boots', []],
])('of several images: %s', (sentence, boots) => {
  expect(headline(boots)).toBe(sentence);
});
