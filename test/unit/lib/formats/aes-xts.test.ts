import { createCipheriv, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { AesXts } from '../../../../lib/formats/aes-xts.ts';

/** OpenSSL's own XTS, a cipher for each sector. */
function byOpenSsl(key: Buffer, sectorBytes: number, offsetBytes: number, bytes: Buffer): Buffer {
  const sectors = [];
  for (let at = 0; at < bytes.length; at += sectorBytes) {
    const tweak = Buffer.alloc(16);
    tweak.writeBigUInt64LE(BigInt((offsetBytes + at) / 512));
    sectors.push(createCipheriv('aes-256-xts', key, tweak).update(bytes.subarray(at, at + sectorBytes)));
  }
  return Buffer.concat(sectors);
}

test.each([512, 1024, 2048, 4096])('sectors of %d bytes are encrypted as by OpenSSL, and decrypted', (sectorBytes) => {
  const key = randomBytes(64);
  const encrypt = new AesXts('encrypt', key, sectorBytes);
  const decrypt = new AesXts('decrypt', key, sectorBytes);
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 2 ** 40 }), fc.integer({ min: 1, max: 200 }), (sector, count) => {
      const plain = randomBytes(count * sectorBytes);
      const bytes = Buffer.from(plain);
      encrypt.update(sector * sectorBytes, bytes);
      expect(bytes.equals(byOpenSsl(key, sectorBytes, sector * sectorBytes, plain))).toBe(true);
      decrypt.update(sector * sectorBytes, bytes);
      expect(bytes.equals(plain)).toBe(true);
    }),
    { numRuns: 30 },
  );
});

test('the vector of IEEE 1619 for AES-256', () => {
  // Vector 10, whose data unit has 512 bytes; its first block.
  const key = Buffer.from(
    '27182818284590452353602874713526624977572470936999595749669676273141592653589793238462643383279502884197169399375105820974944592',
    'hex',
  );
  const bytes = Buffer.from(Array.from({ length: 512 }, (_, index) => index & 0xff));
  new AesXts('encrypt', key, 512).update(0xff * 512, bytes);
  expect(bytes.toString('hex', 0, 16)).toBe('1c3b3a102f770386e4836c99e370cf9b');
});

test('parts of sectors, and keys of another size, are refused', () => {
  const cipher = new AesXts('encrypt', randomBytes(64), 4096);
  expect(() => cipher.update(0, Buffer.alloc(512))).toThrow(/whole sectors/);
  expect(() => cipher.update(512, Buffer.alloc(4096))).toThrow(/whole sectors/);
  expect(() => new AesXts('encrypt', randomBytes(32), 512)).toThrow(/64 bytes/);
});
