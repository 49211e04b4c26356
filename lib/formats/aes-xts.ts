import { type Cipher, createCipheriv, createDecipheriv, type Decipher } from 'node:crypto';
import { SECTOR_BYTES } from '../units.ts';

const BLOCK_BYTES = 16;
const WORDS = BLOCK_BYTES / 4;
/** How much is encrypted by one call of the cipher. */
const CHUNK_BYTES = 64 * 1024;

/** AES-256 in XTS mode as dm-crypt uses it for "aes-xts-plain64": the tweak of each sector of the encrypted device is the number of its
 *  first 512-byte sector.
 *
 *  Node's own aes-256-xts needs a new cipher for each sector, which takes twice the processor time. XTS is two XORs with a mask around
 *  AES-ECB, which encrypts many sectors in one call.
 *  @see IEEE 1619; https://gitlab.com/cryptsetup/cryptsetup/-/wikis/DMCrypt */
export class AesXts {
  readonly #sectorBytes: number;
  readonly #data: Cipher | Decipher;
  readonly #tweak: Cipher;
  readonly #masks = new Int32Array(CHUNK_BYTES / 4);

  /** @param key 64 bytes: the key of the data, and that of the tweaks. @param sectorBytes 512 to 4096, a power of two. */
  constructor(direction: 'encrypt' | 'decrypt', key: Uint8Array, sectorBytes: number) {
    if (key.length !== 64) throw new RangeError(`AES-256-XTS needs a key of 64 bytes, not ${key.length}`);
    const create = direction === 'encrypt' ? createCipheriv : createDecipheriv;
    this.#sectorBytes = sectorBytes;
    this.#data = create('aes-256-ecb', key.subarray(0, 32), null);
    this.#tweak = createCipheriv('aes-256-ecb', key.subarray(32), null);
    this.#data.setAutoPadding(false);
    this.#tweak.setAutoPadding(false);
  }

  /** Encrypts or decrypts whole sectors in place. @param offsetBytes their position in the encrypted device, a multiple of the size of a
   *  sector. */
  update(offsetBytes: number, bytes: Buffer): void {
    if (bytes.byteOffset % 4 !== 0) throw new RangeError('the bytes must be aligned to a word');
    for (let at = 0; at < bytes.length; at += CHUNK_BYTES)
      this.#chunk(offsetBytes + at, bytes.subarray(at, at + CHUNK_BYTES));
  }

  #chunk(offsetBytes: number, bytes: Buffer): void {
    const sectors = bytes.length / this.#sectorBytes;
    if (!Number.isInteger(sectors) || offsetBytes % this.#sectorBytes !== 0)
      throw new RangeError(`only whole sectors of ${this.#sectorBytes} bytes can be encrypted`);
    // Little-endian, as the words of this processor are.
    const numbers = new Uint32Array(sectors * WORDS);
    for (let sector = 0; sector < sectors; sector += 1) {
      const number = (offsetBytes + sector * this.#sectorBytes) / SECTOR_BYTES;
      numbers[sector * WORDS] = number % 2 ** 32;
      numbers[sector * WORDS + 1] = Math.floor(number / 2 ** 32);
    }
    const words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
    mask(words, this.#masks, this.#tweak.update(new Uint8Array(numbers.buffer)), this.#sectorBytes / BLOCK_BYTES);
    const covered = this.#data.update(bytes);
    unmask(words, new Int32Array(covered.buffer, covered.byteOffset, words.length), this.#masks);
  }
}

/** XORs each block with its mask, and keeps the masks. The mask of a sector's first block is its encrypted tweak; each further one is the
 *  one before times x in GF(2^128). One loop does both, because memory is what takes time. */
function mask(words: Int32Array, masks: Int32Array, tweaks: Buffer, blocksPerSector: number): void {
  const wordsPerSector = blocksPerSector * WORDS;
  for (let start = 0, tweak = 0; start < words.length; start += wordsPerSector, tweak += BLOCK_BYTES) {
    let a = tweaks.readInt32LE(tweak);
    let b = tweaks.readInt32LE(tweak + 4);
    let c = tweaks.readInt32LE(tweak + 8);
    let d = tweaks.readInt32LE(tweak + 12);
    for (let at = start; at < start + wordsPerSector; at += WORDS) {
      masks[at] = a;
      masks[at + 1] = b;
      masks[at + 2] = c;
      masks[at + 3] = d;
      words[at] = (words[at] as number) ^ a;
      words[at + 1] = (words[at + 1] as number) ^ b;
      words[at + 2] = (words[at + 2] as number) ^ c;
      words[at + 3] = (words[at + 3] as number) ^ d;
      const carry = (d >> 31) & 0x87;
      d = (d << 1) | (c >>> 31);
      c = (c << 1) | (b >>> 31);
      b = (b << 1) | (a >>> 31);
      a = (a << 1) ^ carry;
    }
  }
}

function unmask(to: Int32Array, from: Int32Array, masks: Int32Array): void {
  for (let at = 0; at < to.length; at += WORDS) {
    to[at] = (from[at] as number) ^ (masks[at] as number);
    to[at + 1] = (from[at + 1] as number) ^ (masks[at + 1] as number);
    to[at + 2] = (from[at + 2] as number) ^ (masks[at + 2] as number);
    to[at + 3] = (from[at + 3] as number) ^ (masks[at + 3] as number);
  }
}
