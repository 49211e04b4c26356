import { crc32c } from '../crc32c.ts';
import { BLOCK_BYTES } from './layout.ts';

/** An extended attribute of a file. @see xattr(7) */
export interface FileAttribute {
  /** With its namespace: "security.capability". */
  readonly name: string;
  readonly value: Buffer;
}

/** e_name_index of each namespace. The two kinds of ACL have their own index and an empty name. */
const NAMESPACES: readonly (readonly [prefix: string, index: number])[] = [
  ['system.posix_acl_access', 2],
  ['system.posix_acl_default', 3],
  ['user.', 1],
  ['trusted.', 4],
  ['security.', 6],
];

/** Whether ext4 can store an attribute with that name. */
export function holdsAttribute(name: string): boolean {
  return NAMESPACES.some(([prefix, index]) => (index === 2 || index === 3 ? name === prefix : name.startsWith(prefix)));
}

const MAGIC = 0xea02_0000;
const ENTRY_HEAD = 16;
const BLOCK_HEAD = 32;
/** Four zero bytes end the list of entries. */
const END_BYTES = 4;

interface Entry {
  readonly index: number;
  readonly name: Buffer;
  readonly value: Buffer;
}

const words = (bytes: number): number => (bytes + 3) & ~3;
const entryBytes = ({ name }: Entry): number => ENTRY_HEAD + words(name.length);
const roomFor = (entries: readonly Entry[]): number =>
  entries.reduce((sum, entry) => sum + entryBytes(entry) + words(entry.value.length), END_BYTES);

/** Writes attributes into the space that an inode has after its fields. @returns whether they fit. */
export function writeIntoInode(attributes: readonly FileAttribute[], room: Buffer): boolean {
  const entries = sorted(attributes);
  if (4 + roomFor(entries) > room.length) return false;
  room.writeUInt32LE(MAGIC, 0);
  // Here, value offsets count from the first entry, and entries have no hash.
  writeEntries(room.subarray(4), 0, entries, false);
  return true;
}

/** Encodes an attribute block. @returns undefined when they do not fit. @see
 *  https://docs.kernel.org/filesystems/ext4/dynamic.html#extended-attributes */
export function attributeBlock(
  attributes: readonly FileAttribute[],
  physical: number,
  filesystemSeed: number,
): Buffer | undefined {
  const entries = sorted(attributes);
  if (BLOCK_HEAD + roomFor(entries) > BLOCK_BYTES) return undefined;
  const block = Buffer.alloc(BLOCK_BYTES);
  block.writeUInt32LE(MAGIC, 0);
  // h_refcount and h_blocks.
  block.writeUInt32LE(1, 4);
  block.writeUInt32LE(1, 8);
  const hashes = writeEntries(block, BLOCK_HEAD, entries, true);
  block.writeUInt32LE(
    hashes.reduce((hash, one) => mix(hash, one, 16), 0),
    12,
  );
  const number = Buffer.alloc(8);
  number.writeBigUInt64LE(BigInt(physical));
  block.writeUInt32LE(crc32c(crc32c(filesystemSeed, number), block), 16);
  return block;
}

/** Writes the entries from `start` on, and their values from the end backwards; value offsets count from the start of
 *  `bytes`.
 *  @returns the hash of each entry. */
function writeEntries(bytes: Buffer, start: number, entries: readonly Entry[], isHashed: boolean): number[] {
  let at = start;
  let end = bytes.length;
  return entries.map((entry) => {
    const { index, name, value } = entry;
    end -= words(value.length);
    value.copy(bytes, end);
    const hash = isHashed ? hashOf(name, bytes.subarray(end, end + words(value.length))) : 0;
    bytes[at] = name.length;
    bytes[at + 1] = index;
    bytes.writeUInt16LE(value.length === 0 ? 0 : end, at + 2);
    bytes.writeUInt32LE(value.length, at + 8);
    bytes.writeUInt32LE(hash, at + 12);
    name.copy(bytes, at + ENTRY_HEAD);
    at += entryBytes(entry);
    return hash;
  });
}

function mix(hash: number, more: number, bits: number): number {
  return (((hash << bits) >>> 0) ^ (hash >>> (32 - bits)) ^ more) >>> 0;
}

/** e_hash of an entry. @param value padded with zeros to whole 32-bit words. */
function hashOf(name: Buffer, value: Buffer): number {
  let hash = 0;
  for (const byte of name) hash = mix(hash, byte, 5);
  for (let at = 0; at < value.length; at += 4) hash = mix(hash, value.readUInt32LE(at), 16);
  return hash;
}

/** Sorts attributes as the kernel's search expects them: by namespace, length of the name, and name. */
function sorted(attributes: readonly FileAttribute[]): Entry[] {
  return attributes
    .map(({ name, value }): Entry => {
      const [prefix = '', index = 0] = NAMESPACES.find(([one]) => name.startsWith(one)) ?? [];
      const isAcl = index === 2 || index === 3;
      return { index, name: Buffer.from(name.slice(prefix.length)), value: isAcl ? shortAcl(value) : value };
    })
    .sort((a, b) => a.index - b.index || a.name.length - b.name.length || a.name.compare(b.name));
}

const ACL_HEAD = 4;
const NAMED_USER = 0x02;
const NAMED_GROUP = 0x08;

/** Converts an ACL from the format of the system calls, where each entry has an id, to ext4's, where only named users
 *  and groups do.
 *  @see Linux include/uapi/linux/posix_acl_xattr.h, fs/ext4/acl.h */
function shortAcl(acl: Buffer): Buffer {
  const version = Buffer.alloc(ACL_HEAD);
  version.writeUInt32LE(1);
  const parts: Buffer[] = [version];
  for (let at = ACL_HEAD; at + 8 <= acl.length; at += 8) {
    const tag = acl.readUInt16LE(at);
    parts.push(acl.subarray(at, at + (tag === NAMED_USER || tag === NAMED_GROUP ? 8 : 4)));
  }
  return Buffer.concat(parts);
}

/** An attribute as stored on disk; its value may be in a separate inode (ea_inode). */
export type FoundAttribute = FileAttribute | { readonly name: string; readonly inode: number; readonly bytes: number };

/** Decodes the attributes in the space of an inode. */
export function readFromInode(room: Buffer): FoundAttribute[] {
  return room.length >= 8 && room.readUInt32LE(0) === MAGIC ? decodeAttributes(room.subarray(4), 0) : [];
}

/** Decodes a block of attributes. */
export function readAttributeBlock(block: Buffer): FoundAttribute[] {
  return block.length >= BLOCK_HEAD && block.readUInt32LE(0) === MAGIC ? decodeAttributes(block, BLOCK_HEAD) : [];
}

function decodeAttributes(bytes: Buffer, start: number): FoundAttribute[] {
  const found: FoundAttribute[] = [];
  for (let at = start; at + ENTRY_HEAD <= bytes.length && bytes.readUInt32LE(at) !== 0; ) {
    const nameBytes = bytes[at] ?? 0;
    const index = bytes[at + 1] ?? 0;
    const end = at + ENTRY_HEAD + nameBytes;
    if (end > bytes.length) break;
    const prefix =
      NAMESPACES.find(([, one]) => one === index)?.[0] ?? (index === 7 ? 'system.' : `namespace ${index}: `);
    const name = `${prefix}${bytes.toString('latin1', at + ENTRY_HEAD, end)}`;
    const [offset, inode, size] = [bytes.readUInt16LE(at + 2), bytes.readUInt32LE(at + 4), bytes.readUInt32LE(at + 8)];
    if (inode !== 0) found.push({ name, inode, bytes: size });
    else {
      const value = Buffer.from(bytes.subarray(offset, Math.min(offset + size, bytes.length)));
      found.push({ name, value: index === 2 || index === 3 ? longAcl(value) : value });
    }
    at = at + ENTRY_HEAD + words(nameBytes);
  }
  return found;
}

/** The inverse of shortAcl. */
function longAcl(acl: Buffer): Buffer {
  const version = Buffer.alloc(ACL_HEAD);
  version.writeUInt32LE(2);
  const parts: Buffer[] = [version];
  for (let at = ACL_HEAD; at + 4 <= acl.length; ) {
    const tag = acl.readUInt16LE(at);
    const isNamed = tag === NAMED_USER || tag === NAMED_GROUP;
    const entry = Buffer.alloc(8, 0xff);
    acl.copy(entry, 0, at, at + (isNamed ? 8 : 4));
    parts.push(entry);
    at += isNamed ? 8 : 4;
  }
  return Buffer.concat(parts);
}
