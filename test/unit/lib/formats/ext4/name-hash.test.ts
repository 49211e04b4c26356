import { expect, test } from 'vitest';
import { hashOfName } from '../../../../../lib/formats/ext4/name-hash.ts';

const seed = Uint32Array.of(0x0403_0201, 0x0807_0605, 0x0c0b_0a09, 0x100f_0e0d);

// Hashes from `debugfs -R 'dx_hash -h half_md4 -s 01020304-0506-0708-090a-0b0c0d0e0f10 NAME'` of e2fsprogs 1.47.0.
test.each([
  ['a', 0x8d08_ec4c],
  ['ab', 0xeef4_1876],
  ['abcd', 0x3306_0ba6],
  ['hello-world', 0xcc7b_d0ae],
  ['x'.repeat(31), 0x762e_6440],
  ['x'.repeat(32), 0xbc1d_a53a],
  ['y'.repeat(33), 0x79fd_c4b6],
  ['0123456789'.repeat(20), 0x7a7c_4158],
  ['é€ünïcode', 0x977b_570a],
])('the hash of %s', (name, hash) => {
  expect(hashOfName(Buffer.from(name), { seed, isSigned: true })).toBe(hash);
});

test('bytes above 127 hash differently with unsigned characters', () => {
  const hash = (name: string, isSigned: boolean): number => hashOfName(Buffer.from(name), { seed, isSigned });
  expect(hash('é', false)).not.toBe(hash('é', true));
  expect(hash('e', false)).toBe(hash('e', true));
});
