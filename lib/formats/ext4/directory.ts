import { crc32c } from '../crc32c.ts';
import { BLOCK_BYTES } from './layout.ts';
import { HALF_MD4, hashOfName, type NameHash } from './name-hash.ts';

/** The file type codes of directory entries. */
export const ENTRY_TYPES = { file: 1, directory: 2, fifo: 5, symlink: 7 } as const;

export const LONGEST_NAME = 255;

/** Bytes of a directory entry before its name: inode, entry length, name length, type. Entries are padded to 4
 *  bytes. */
const ENTRY_HEAD = 8;
const sizeOf = (nameBytes: number): number => (ENTRY_HEAD + nameBytes + 3) & ~3;
/** "." and "..". */
const DOTS_BYTES = 2 * sizeOf(2);

/** Each block ends with a fake entry that holds its checksum. */
const TAIL_BYTES = 12;
const ROOM = BLOCK_BYTES - TAIL_BYTES;
/** Leaf blocks are filled to 80 %, so that not every name added later splits one. */
const FILLED = Math.floor(ROOM * 0.8);

/** An index entry: a hash and a block number. */
const PAIR_BYTES = 8;
const ROOT_PAIRS_AT = 32;
const NODE_PAIRS_AT = 8;
const INDEX_TAIL_BYTES = 8;
const ROOT_PAIRS = (BLOCK_BYTES - ROOT_PAIRS_AT - INDEX_TAIL_BYTES) / PAIR_BYTES;
const NODE_PAIRS = (BLOCK_BYTES - NODE_PAIRS_AT - INDEX_TAIL_BYTES) / PAIR_BYTES;

/** Entries are sorted by a number of 53 bits: 31 of the hash, 22 of the entry's position. */
export const MOST_ENTRIES = 2 ** 22;

/** The entries of one directory, stored compactly, because there may be a million. */
export class DirectoryEntries {
  #bytes = Buffer.allocUnsafe(1024);
  #end = 0;
  #count = 0;
  /** Size of all entries as they are on disk. */
  #sizeBytes = DOTS_BYTES;

  get count(): number {
    return this.#count;
  }

  /** @param name its bytes, read as latin1. */
  add(name: string, inode: number, type: number): void {
    const needed = this.#end + 6 + name.length;
    if (needed > this.#bytes.length) {
      const larger = Buffer.allocUnsafe(Math.max(needed, this.#bytes.length * 2));
      this.#bytes.copy(larger, 0, 0, this.#end);
      this.#bytes = larger;
    }
    this.#bytes.writeUInt32LE(inode, this.#end);
    this.#bytes[this.#end + 4] = name.length;
    this.#bytes[this.#end + 5] = type;
    this.#bytes.write(name, this.#end + 6, 'latin1');
    this.#end = needed;
    this.#count += 1;
    this.#sizeBytes += sizeOf(name.length);
  }

  /** Encodes the directory: one plain block, or an index and its leaf blocks.
   *  @param seed of inodeSeed. @throws {RangeError} when it holds more than an index of two levels can name. */
  blocks(inode: number, parent: number, hash: NameHash, seed: number): Buffer[] {
    if (this.#sizeBytes <= ROOM) {
      const block = new Block();
      block.add(inode, ENTRY_TYPES.directory, Buffer.from('.'));
      block.add(parent, ENTRY_TYPES.directory, Buffer.from('..'));
      for (let at = 0; at < this.#end; at = this.#copy(block, at));
      return [block.seal(seed)];
    }
    const { leaves, hashes } = this.#leaves(hash, seed);
    return [...indexOf(hashes, inode, parent, seed), ...leaves];
  }

  /** Leaf blocks, sorted by hash, and the lowest hash in each. */
  #leaves(hash: NameHash, seed: number): { leaves: Buffer[]; hashes: number[] } {
    const places = new Uint32Array(this.#count);
    const keys = new Float64Array(this.#count);
    for (let at = 0, index = 0; at < this.#end; index += 1) {
      const end = this.#endOf(at);
      places[index] = at;
      // The lowest bit of a hash is always 0.
      keys[index] = (hashOfName(this.#bytes.subarray(at + 6, end), hash) / 2) * MOST_ENTRIES + index;
      at = end;
    }
    keys.sort();
    const leaves: Buffer[] = [];
    const hashes: number[] = [];
    let block = new Block();
    let last = -1;
    for (const key of keys) {
      const half = Math.floor(key / MOST_ENTRIES);
      const at = places[key % MOST_ENTRIES] ?? 0;
      if (hashes.length > 0 && block.bytesUsed + sizeOf(this.#bytes[at + 4] ?? 0) > FILLED) {
        leaves.push(block.seal(seed));
        block = new Block();
        // A set lowest bit means that the previous block has names with this hash, too.
        hashes.push(half * 2 + (half === last ? 1 : 0));
      } else if (hashes.length === 0) hashes.push(0);
      this.#copy(block, at);
      last = half;
    }
    leaves.push(block.seal(seed));
    return { leaves, hashes };
  }

  #endOf(at: number): number {
    return at + 6 + (this.#bytes[at + 4] ?? 0);
  }

  /** @returns the position of the next entry. */
  #copy(block: Block, at: number): number {
    const end = this.#endOf(at);
    block.add(this.#bytes.readUInt32LE(at), this.#bytes[at + 5] ?? 0, this.#bytes.subarray(at + 6, end));
    return end;
  }
}

/** An empty directory block, such as lost+found has. */
export function emptyBlock(seed: number): Buffer {
  return new Block().seal(seed);
}

/** A directory block under construction. */
class Block {
  readonly #bytes = Buffer.alloc(BLOCK_BYTES);
  #last = 0;
  bytesUsed = 0;

  add(inode: number, type: number, name: Buffer): void {
    this.#last = this.bytesUsed;
    writeEntry(this.#bytes, this.#last, inode, sizeOf(name.length), type, name);
    this.bytesUsed += sizeOf(name.length);
  }

  seal(seed: number): Buffer {
    // The last entry extends to the end of the block.
    this.#bytes.writeUInt16LE(ROOM - this.#last, this.#last + 4);
    this.#bytes.writeUInt16LE(TAIL_BYTES, ROOM + 4);
    this.#bytes[ROOM + 7] = 0xde;
    this.#bytes.writeUInt32LE(crc32c(seed, this.#bytes.subarray(0, ROOM)), ROOM + 8);
    return this.#bytes;
  }
}

function writeEntry(bytes: Buffer, at: number, inode: number, length: number, type: number, name: Buffer): void {
  bytes.writeUInt32LE(inode, at);
  bytes.writeUInt16LE(length, at + 4);
  bytes[at + 6] = name.length;
  bytes[at + 7] = type;
  name.copy(bytes, at + ENTRY_HEAD);
}

/** Encodes the index: its root, which to old kernels is a block with "." and "..", and a second level where the root
 *  has too few entries for all leaves. @see
 *  https://docs.kernel.org/filesystems/ext4/dynamic.html#hash-tree-directories */
function indexOf(hashes: readonly number[], inode: number, parent: number, seed: number): Buffer[] {
  const nodes = hashes.length <= ROOT_PAIRS ? 0 : Math.ceil(hashes.length / NODE_PAIRS);
  if (nodes > ROOT_PAIRS) throw new RangeError(`${hashes.length} blocks of names are more than an index can hold`);
  const root = Buffer.alloc(BLOCK_BYTES);
  writeEntry(root, 0, inode, sizeOf(1), ENTRY_TYPES.directory, Buffer.from('.'));
  writeEntry(root, sizeOf(1), parent, BLOCK_BYTES - sizeOf(1), ENTRY_TYPES.directory, Buffer.from('..'));
  root[28] = HALF_MD4;
  root[29] = 8;
  root[30] = nodes === 0 ? 0 : 1;
  const leaves = hashes.map((hash, index) => ({ hash, block: 1 + nodes + index }));
  if (nodes === 0) {
    writePairs(root, ROOT_PAIRS_AT, ROOT_PAIRS, leaves, seed);
    return [root];
  }
  const below = Array.from({ length: nodes }, (_, index) => leaves.slice(index * NODE_PAIRS, (index + 1) * NODE_PAIRS));
  const pairs = below.map((part, index) => ({ hash: part[0]?.hash ?? 0, block: 1 + index }));
  writePairs(root, ROOT_PAIRS_AT, ROOT_PAIRS, pairs, seed);
  return [
    root,
    ...below.map((part) => {
      const node = Buffer.alloc(BLOCK_BYTES);
      // To old kernels, an unused entry that fills the block.
      node.writeUInt16LE(BLOCK_BYTES, 4);
      writePairs(node, NODE_PAIRS_AT, NODE_PAIRS, part, seed);
      return node;
    }),
  ];
}

function writePairs(
  bytes: Buffer,
  start: number,
  most: number,
  pairs: readonly { readonly hash: number; readonly block: number }[],
  seed: number,
): void {
  for (const [index, { hash, block }] of pairs.entries()) {
    bytes.writeUInt32LE(hash, start + index * PAIR_BYTES);
    bytes.writeUInt32LE(block, start + index * PAIR_BYTES + 4);
  }
  // Limit and count take the place of the first hash, which is always the lowest.
  bytes.writeUInt16LE(most, start);
  bytes.writeUInt16LE(pairs.length, start + 2);
  const tail = start + most * PAIR_BYTES;
  const used = crc32c(seed, bytes.subarray(0, start + pairs.length * PAIR_BYTES));
  bytes.writeUInt32LE(crc32c(used, bytes.subarray(tail, tail + INDEX_TAIL_BYTES)), tail + 4);
}

/** A directory entry as stored on disk. */
export interface DirectoryEntry {
  /** Its bytes, read as latin1. */
  readonly name: string;
  readonly inode: number;
}

/** Decodes the entries of a directory block, including "." and ".."; index blocks have none.
 *  @returns the entries; the last one is undefined if the block is damaged after the entries before it. */
export function decodeEntries(bytes: Buffer): (DirectoryEntry | undefined)[] {
  const entries: (DirectoryEntry | undefined)[] = [];
  for (let at = 0; at + ENTRY_HEAD <= bytes.length; ) {
    const inode = bytes.readUInt32LE(at);
    const claimed = bytes.readUInt16LE(at + 4);
    // 16 bits cannot hold the length of a whole 64 KiB block.
    const length = bytes.length === 65_536 && (claimed === 0xffff || claimed === 0) ? 65_536 : claimed;
    const nameBytes = bytes[at + 6] ?? 0;
    if (length < ENTRY_HEAD || length % 4 !== 0 || at + length > bytes.length || ENTRY_HEAD + nameBytes > length)
      return [...entries, undefined];
    if (inode !== 0 && nameBytes > 0)
      entries.push({ name: bytes.toString('latin1', at + ENTRY_HEAD, at + ENTRY_HEAD + nameBytes), inode });
    at += length;
  }
  return entries;
}
