/** Tables for slicing-by-4: table n is for a byte that is followed by n more bytes. */
const TABLES = [0, 1, 2, 3].map(() => new Uint32Array(256));
for (let byte = 0; byte < 256; byte += 1) {
  let remainder = byte;
  for (const table of TABLES) {
    for (let bit = 0; bit < 8; bit += 1) remainder = (remainder >>> 1) ^ (remainder & 1 ? 0x82f6_3b78 : 0);
    table[byte] = remainder;
  }
}
const [TABLE_0 = new Uint32Array(), TABLE_1 = TABLE_0, TABLE_2 = TABLE_0, TABLE_3 = TABLE_0] = TABLES;

/** The damage of a filesystem whose superblock does not match its checksum. */
export const WRONG_CHECKSUM = 'has a superblock whose checksum is wrong';

/** Computes CRC-32C (Castagnoli) continued from `seed`, without the final inversion, as ext4 uses it. Node's zlib has
 *  only CRC-32. It processes four bytes at a time (slicing-by-4). */
export function crc32c(seed: number, bytes: Uint8Array): number {
  let crc = seed;
  let at = 0;
  for (; at + 4 <= bytes.length; at += 4) {
    crc ^= (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8) | ((bytes[at + 2] ?? 0) << 16) | ((bytes[at + 3] ?? 0) << 24);
    crc =
      (TABLE_3[crc & 0xff] ?? 0) ^
      (TABLE_2[(crc >>> 8) & 0xff] ?? 0) ^
      (TABLE_1[(crc >>> 16) & 0xff] ?? 0) ^
      (TABLE_0[crc >>> 24] ?? 0);
  }
  for (; at < bytes.length; at += 1) crc = (TABLE_0[(crc ^ (bytes[at] ?? 0)) & 0xff] ?? 0) ^ (crc >>> 8);
  return crc >>> 0;
}
