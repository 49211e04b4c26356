/** Parameters of the directory hash. */
export interface NameHash {
  /** The superblock's s_hash_seed, in four words. */
  readonly seed: Uint32Array;
  /** Whether bytes above 127 count as negative numbers, as `char` does on x86. */
  readonly isSigned: boolean;
}

/** s_def_hash_version of the hash below. */
export const HALF_MD4 = 1;

/** Reserved for the end of a directory. */
const END_OF_DIRECTORY = 0xffff_fffe;
const INITIAL = Uint32Array.of(0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476);
const ROUND_2 = 0x5a82_7999;
const ROUND_3 = 0x6ed9_eba1;

/** The order of words and the rotations of each round. */
const ORDER_1 = [0, 1, 2, 3, 4, 5, 6, 7];
const ORDER_2 = [1, 3, 5, 7, 0, 2, 4, 6];
const ORDER_3 = [3, 7, 2, 6, 1, 5, 0, 4];
const TURNS_1 = [3, 7, 11, 19];
const TURNS_2 = [3, 5, 9, 13];
const TURNS_3 = [3, 9, 11, 15];

const state = new Uint32Array(4);
const words = new Uint32Array(8);

/** Hashes a name for an indexed directory with half MD4; the lowest bit of the result is 0.
 *  @see RFC 1320; https://docs.kernel.org/filesystems/ext4/dynamic.html#hash-tree-directories */
export function hashOfName(name: Uint8Array, { seed, isSigned }: NameHash): number {
  state.set(seed.some((word) => word !== 0) ? seed : INITIAL);
  for (let at = 0; at < name.length; at += 32) {
    takeWords(name, at, isSigned);
    mix();
  }
  const hash = ((state[1] ?? 0) & ~1) >>> 0;
  return hash === END_OF_DIRECTORY ? END_OF_DIRECTORY - 2 : hash;
}

/** Up to 32 bytes of a name as eight words, padded with its length. */
function takeWords(name: Uint8Array, start: number, isSigned: boolean): void {
  const length = name.length - start;
  const pad = (length | (length << 8) | (length << 16) | (length << 24)) >>> 0;
  let value = pad;
  let word = 0;
  const end = Math.min(length, 32);
  for (let index = 0; index < end; index += 1) {
    const byte = name[start + index] ?? 0;
    const digit = isSigned && byte > 127 ? byte - 256 : byte;
    value = ((value << 8) + digit) >>> 0;
    if (index % 4 !== 3) continue;
    words[word++] = value;
    value = pad;
  }
  if (word < 8) words[word++] = value;
  while (word < 8) words[word++] = pad;
}

function mix(): void {
  let [a = 0, b = 0, c = 0, d = 0] = state;
  const turn = (sum: number, bits: number): void => {
    const turned = ((sum << bits) | (sum >>> (32 - bits))) >>> 0;
    [a, b, c, d] = [d, turned, b, c];
  };
  for (let step = 0; step < 8; step += 1)
    turn((a + (d ^ (b & (c ^ d))) + word(ORDER_1, step)) >>> 0, TURNS_1[step % 4] ?? 0);
  for (let step = 0; step < 8; step += 1)
    turn((a + ((b & c) + ((b ^ c) & d)) + word(ORDER_2, step) + ROUND_2) >>> 0, TURNS_2[step % 4] ?? 0);
  for (let step = 0; step < 8; step += 1)
    turn((a + (b ^ c ^ d) + word(ORDER_3, step) + ROUND_3) >>> 0, TURNS_3[step % 4] ?? 0);
  state[0] = (state[0] ?? 0) + a;
  state[1] = (state[1] ?? 0) + b;
  state[2] = (state[2] ?? 0) + c;
  state[3] = (state[3] ?? 0) + d;
}

function word(order: readonly number[], step: number): number {
  return words[order[step] ?? 0] ?? 0;
}
