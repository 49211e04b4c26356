import { type FileHandle, open } from 'node:fs/promises';
import { crc32c } from '../formats/crc32c.ts';
import { UnexpectedStateError } from '../run/errors.ts';
import type { TreeEntry } from './tree.ts';

/** Offsets and sizes of structures on disk. @see btrfs-dev-docs, "On-disk format": superblock, header, key, chunk item,
 *  inode item */
const SUPERBLOCK = { at: 0x1_0000, bytes: 4096, root: 0x50, chunkRoot: 0x58, nodeBytes: 0x94, arrayBytes: 0xa0 };
const CHECKSUM_TYPE = 0xc4;
const SYSTEM_CHUNKS = 0x32b;
const HEADER = { bytes: 101, checksum: 32, items: 96, level: 100 };
const KEY_BYTES = 17;
const ITEM_BYTES = 25;
const POINTER_BYTES = 33;
const CHUNK = { bytes: 48, stripes: 44, stripeBytes: 32, stripeOffset: 56 };
const ROOT_ITEM_NODE = 176;
const INODE = { uid: 44, gid: 48 };
const DIR_ITEM = { nameBytes: 27, bytes: 30 };
const TYPE = { inode: 1, dirIndex: 96, root: 132, chunk: 228 };
const FS_TREE = 5n;
const ROOT_DIRECTORY = 256n;
const CRC32C = 0;

interface Chunk {
  readonly logical: bigint;
  readonly length: bigint;
  readonly physical: bigint;
}

interface Item {
  readonly objectId: bigint;
  readonly type: number;
  readonly offset: bigint;
  readonly data: Buffer;
}

/** Sets the owners of all files in a new btrfs, also in its subvolumes. mkfs.btrfs copies owners from the source directory, and
 *  since 6.14 in a way that bypasses fakeroot. Supports only filesystems as mkfs.btrfs makes them: one device, crc32c, not mounted.
 *  @param tree directories before their contents.
 *  @throws {UnexpectedStateError} when an entry of the tree is missing. */
export async function setBtrfsOwners(
  step: string,
  file: string,
  tree: Iterable<Pick<TreeEntry, 'path' | 'uid' | 'gid'>>,
): Promise<void> {
  await using handle = await open(file, 'r+');
  const filesystem = await openBtrfs(step, handle);
  const subvolumes = new Map<bigint, Inodes>();
  const subvolume = async (id: bigint): Promise<Inodes> => {
    const known = subvolumes.get(id) ?? inodesIn(await filesystem.leaves(await filesystem.treeRoot(id)));
    subvolumes.set(id, known);
    return known;
  };
  const changed = new Set<Node>();
  const found = new Map<string, Place>([['', { tree: FS_TREE, inode: ROOT_DIRECTORY }]]);
  for (const { path, uid, gid } of tree) {
    const slash = path.lastIndexOf('/');
    const parent = found.get(path.slice(0, Math.max(0, slash)));
    const place =
      path === '' || parent === undefined
        ? found.get(path)
        : placeOf(parent.tree, (await subvolume(parent.tree)).names.get(parent.inode)?.get(path.slice(slash + 1)));
    const item = place === undefined ? undefined : (await subvolume(place.tree)).inodes.get(place.inode);
    if (place === undefined || item === undefined)
      throw new UnexpectedStateError(step, `mkfs.btrfs did not write /${path}`);
    found.set(path, place);
    if (item.data.readUInt32LE(INODE.uid) === uid && item.data.readUInt32LE(INODE.gid) === gid) continue;
    item.data.writeUInt32LE(uid, INODE.uid);
    item.data.writeUInt32LE(gid, INODE.gid);
    changed.add(item.node);
  }
  for (const { buffer, at } of changed) {
    buffer.writeUInt32LE(~crc32c(0xffff_ffff, buffer.subarray(HEADER.checksum)) >>> 0, 0);
    await handle.write(buffer, 0, buffer.length, at);
  }
}

/** An inode, and the tree of its subvolume. */
interface Place {
  readonly tree: bigint;
  readonly inode: bigint;
}

interface Inodes {
  /** The keys to which the names in a directory refer. */
  readonly names: ReadonlyMap<bigint, ReadonlyMap<string, Key>>;
  readonly inodes: ReadonlyMap<bigint, { readonly node: Node; readonly data: Buffer }>;
}

interface Key {
  readonly objectId: bigint;
  readonly type: number;
}

/** A name refers to an inode of its own tree, or to the tree of a subvolume. */
function placeOf(tree: bigint, key: Key | undefined): Place | undefined {
  if (key === undefined) return undefined;
  return key.type === TYPE.root ? { tree: key.objectId, inode: ROOT_DIRECTORY } : { tree, inode: key.objectId };
}

function inodesIn(leaves: readonly Node[]): Inodes {
  const names = new Map<bigint, Map<string, Key>>();
  const inodes = new Map<bigint, { readonly node: Node; readonly data: Buffer }>();
  for (const node of leaves)
    for (const { objectId, type, data } of itemsOf(node.buffer)) {
      if (type === TYPE.inode) inodes.set(objectId, { node, data });
      if (type !== TYPE.dirIndex) continue;
      const name = data.toString('latin1', DIR_ITEM.bytes, DIR_ITEM.bytes + data.readUInt16LE(DIR_ITEM.nameBytes));
      const ofDirectory = names.get(objectId) ?? new Map<string, Key>();
      ofDirectory.set(name, { objectId: data.readBigUInt64LE(0), type: data.readUInt8(8) });
      names.set(objectId, ofDirectory);
    }
  return { names, inodes };
}

/** A node of a tree, and where it is in the file. */
interface Node {
  readonly buffer: Buffer;
  readonly at: number;
}

interface Btrfs {
  /** The logical address of a tree's root. */
  treeRoot(id: bigint): Promise<bigint>;
  leaves(logical: bigint): Promise<Node[]>;
}

async function openBtrfs(step: string, handle: FileHandle): Promise<Btrfs> {
  const { buffer: superblock } = await handle.read(Buffer.alloc(SUPERBLOCK.bytes), 0, SUPERBLOCK.bytes, SUPERBLOCK.at);
  const checksumType = superblock.readUInt16LE(CHECKSUM_TYPE);
  if (checksumType !== CRC32C)
    throw new UnexpectedStateError(step, 'the btrfs has an unsupported type of checksums', {
      expected: 'crc32c (0)',
      found: `type ${checksumType}`,
    });
  const nodeBytes = superblock.readUInt32LE(SUPERBLOCK.nodeBytes);
  const chunks: Chunk[] = [];
  const physical = (logical: bigint): number => {
    const chunk = chunks.find((one) => logical >= one.logical && logical < one.logical + one.length);
    if (chunk === undefined)
      throw new UnexpectedStateError(step, `no chunk of the btrfs contains the address ${logical}`);
    return Number(logical - chunk.logical + chunk.physical);
  };
  const leaves = async (logical: bigint): Promise<Node[]> => {
    const at = physical(logical);
    const { buffer } = await handle.read(Buffer.alloc(nodeBytes), 0, nodeBytes, at);
    if (buffer.readUInt8(HEADER.level) === 0) return [{ buffer, at }];
    const nodes: Node[] = [];
    for (let index = 0; index < buffer.readUInt32LE(HEADER.items); index += 1)
      nodes.push(...(await leaves(buffer.readBigUInt64LE(HEADER.bytes + index * POINTER_BYTES + KEY_BYTES))));
    return nodes;
  };
  // The chunks that contain the chunk tree itself.
  const arrayEnd = SYSTEM_CHUNKS + superblock.readUInt32LE(SUPERBLOCK.arrayBytes);
  for (let at = SYSTEM_CHUNKS; at < arrayEnd; ) {
    const data = superblock.subarray(at + KEY_BYTES);
    chunks.push(parseChunk(superblock.readBigUInt64LE(at + 9), data));
    at += KEY_BYTES + CHUNK.bytes + data.readUInt16LE(CHUNK.stripes) * CHUNK.stripeBytes;
  }
  for (const { buffer } of await leaves(superblock.readBigUInt64LE(SUPERBLOCK.chunkRoot)))
    for (const { type, offset, data } of itemsOf(buffer))
      if (type === TYPE.chunk) chunks.push(parseChunk(offset, data));
  return {
    leaves,
    async treeRoot(id) {
      for (const { buffer } of await leaves(superblock.readBigUInt64LE(SUPERBLOCK.root)))
        for (const { objectId, type, data } of itemsOf(buffer))
          if (objectId === id && type === TYPE.root) return data.readBigUInt64LE(ROOT_ITEM_NODE);
      throw new UnexpectedStateError(step, `the btrfs has no tree ${id}`);
    },
  };
}

/** Decodes a chunk item. It uses the first stripe, because makeBtrfs has metadata stored once. */
function parseChunk(logical: bigint, data: Buffer): Chunk {
  return { logical, length: data.readBigUInt64LE(0), physical: data.readBigUInt64LE(CHUNK.stripeOffset) };
}

/** Decodes the items of a leaf. Their data are views of its buffer. */
function itemsOf(leaf: Buffer): Item[] {
  return Array.from({ length: leaf.readUInt32LE(HEADER.items) }, (_, index) => {
    const at = HEADER.bytes + index * ITEM_BYTES;
    const from = HEADER.bytes + leaf.readUInt32LE(at + KEY_BYTES);
    return {
      objectId: leaf.readBigUInt64LE(at),
      type: leaf.readUInt8(at + 8),
      offset: leaf.readBigUInt64LE(at + 9),
      data: leaf.subarray(from, from + leaf.readUInt32LE(at + KEY_BYTES + 4)),
    };
  });
}
