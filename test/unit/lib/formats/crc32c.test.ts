import { expect, test } from 'vitest';
import { crc32c } from '../../../../lib/formats/crc32c.ts';

/** The checksum with the usual inversion at the start and the end. */
const whole = (bytes: Uint8Array): number => (crc32c(0xffff_ffff, bytes) ^ 0xffff_ffff) >>> 0;

test.each([
  ['32 zeros', Buffer.alloc(32), 0x8a91_36aa],
  ['32 ones', Buffer.alloc(32, 0xff), 0x62a8_ab43],
  ['ascending', Buffer.from(Array.from({ length: 32 }, (_, index) => index)), 0x46dd_794e],
  ['the digits', Buffer.from('123456789'), 0xe306_9283],
  ['nothing', Buffer.alloc(0), 0],
])('RFC 3720, B.4: %s', (_, bytes, checksum) => {
  expect(whole(bytes)).toBe(checksum);
});

test('it can be computed in pieces, split at any byte', () => {
  const bytes = Buffer.from('The quick brown fox jumps over the lazy dog');
  for (let cut = 0; cut <= bytes.length; cut += 1)
    expect(crc32c(crc32c(7, bytes.subarray(0, cut)), bytes.subarray(cut))).toBe(crc32c(7, bytes));
});
