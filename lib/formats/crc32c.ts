const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let remainder = byte;
  for (let bit = 0; bit < 8; bit += 1) remainder = (remainder >>> 1) ^ (remainder & 1 ? 0x82f6_3b78 : 0);
  return remainder;
});

/** Of a filesystem whose superblock has another checksum than it says. */
export const WRONG_CHECKSUM = 'has a superblock whose checksum is wrong';

/** CRC-32C (Castagnoli) carried on from `seed`, without the last inversion, as ext4 has it. Node's zlib has only CRC-32. */
export function crc32c(seed: number, bytes: Uint8Array): number {
  let crc = seed;
  for (const byte of bytes) crc = (TABLE[(crc ^ byte) & 0xff] ?? 0) ^ (crc >>> 8);
  return crc >>> 0;
}
