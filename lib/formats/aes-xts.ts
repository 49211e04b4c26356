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

  /** Encrypts or decrypts whole sectors. @param offsetBytes their position in the encrypted device, a multiple of the size of a sector.
   *  @returns as many bytes, in a new buffer. */
  update(offsetBytes: number, bytes: Buffer): Buffer {
    const result = Buffer.from(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
    for (let at = 0; at < result.length; at += CHUNK_BYTES)
      this.#chunk(offsetBytes + at, result.subarray(at, at + CHUNK_BYTES));
    return result;
  }

  #chunk(offsetBytes: number, bytes: Buffer): void {
    const sectors = bytes.length / this.#sectorBytes;
    if (!Number.isInteger(sectors) || offsetBytes % this.#sectorBytes !== 0)
      throw new RangeError(`only whole sectors of ${this.#sectorBytes} bytes can be encrypted`);
    const numbers = Buffer.alloc(sectors * BLOCK_BYTES);
    for (let sector = 0; sector < sectors; sector += 1)
      numbers.writeBigUInt64LE(BigInt((offsetBytes + sector * this.#sectorBytes) / SECTOR_BYTES), sector * BLOCK_BYTES);
    this.#fillMasks(this.#tweak.update(numbers), sectors);
    const words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
    this.#mask(words, words);
    const covered = this.#data.update(bytes);
    this.#mask(new Int32Array(covered.buffer, covered.byteOffset, covered.length / 4), words);
  }

  /** Multiplies each tweak by powers of x in GF(2^128): the mask of each block of its sector. */
  #fillMasks(tweaks: Buffer, sectors: number): void {
    const masks = this.#masks;
    const blocks = this.#sectorBytes / BLOCK_BYTES;
    for (let sector = 0; sector < sectors; sector += 1) {
      let a = tweaks.readInt32LE(sector * BLOCK_BYTES);
      let b = tweaks.readInt32LE(sector * BLOCK_BYTES + 4);
      let c = tweaks.readInt32LE(sector * BLOCK_BYTES + 8);
      let d = tweaks.readInt32LE(sector * BLOCK_BYTES + 12);
      let at = sector * blocks * WORDS;
      for (let block = 0; block < blocks; block += 1) {
        masks[at] = a;
        masks[at + 1] = b;
        masks[at + 2] = c;
        masks[at + 3] = d;
        at += WORDS;
        const carry = (d >> 31) & 0x87;
        d = (d << 1) | (c >>> 31);
        c = (c << 1) | (b >>> 31);
        b = (b << 1) | (a >>> 31);
        a = (a << 1) ^ carry;
      }
    }
  }

  #mask(from: Int32Array, to: Int32Array): void {
    const masks = this.#masks;
    for (let at = 0; at < from.length; at += 1) to[at] = (from[at] as number) ^ (masks[at] as number);
  }
}
