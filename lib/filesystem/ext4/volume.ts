import { type FileAttribute, readAttributeBlock, readFromInode } from '../../formats/ext4/attributes.ts';
import { type DirectoryEntry, decodeEntries } from '../../formats/ext4/directory.ts';
import {
  type DecodedInode,
  decodeExtentNode,
  decodeInode,
  EXTENTS,
  type Extent,
  INLINE_DATA,
} from '../../formats/ext4/inode.ts';
import { hasSuperblock } from '../../formats/ext4/layout.ts';
import {
  type Ext4Superblock,
  parseExt4Superblock,
  SUPERBLOCK_AT,
  SUPERBLOCK_BYTES,
} from '../../formats/ext4/superblock.ts';
import type { ReadBytes } from '../../formats/extent.ts';

export interface Ext4Node extends DecodedInode {
  readonly inode: number;
}

export interface PathNode {
  /** Bytes decoded as latin1, without a leading slash. */
  readonly path: string;
  readonly node: Ext4Node;
}

const ROOT_INODE = 2;
/** A flag of a group: its block bitmap was never written. */
const BLOCK_UNINIT = 0x2;
const DEEPEST_DIRECTORIES = 200;

const PAGE_BYTES = 64 * 1024;
const MOST_PAGES = 64;
/** The limit for one file. A file of a terabyte with extents of 16 MiB has fewer. */
const MOST_EXTENTS = 200_000;
/** The limit of extent tree nodes and indirect blocks for one file. */
const MOST_NODES = 20_000;
const DEEPEST_EXTENTS = 5;
const LARGEST_LINK = 4096;
const LARGEST_ATTRIBUTE = 65_536;
/** How many bytes of a directory are read at once. */
const DIRECTORY_BYTES = 64 * 1024;

/** Reads an untrusted ext2, ext3 or ext4: every number is clamped when it is read, no tree is followed deeper than is
 *  valid, and neither a file nor a directory is held in memory as a whole. The journal is not replayed.
 *  @see https://docs.kernel.org/filesystems/ext4/index.html */
export class Ext4Volume {
  readonly superblock: Ext4Superblock;
  /** The undecoded superblock. */
  readonly bytes: Buffer;
  readonly #read: ReadBytes;
  readonly #pages = new Map<number, Buffer>();

  private constructor(superblock: Ext4Superblock, bytes: Buffer, read: ReadBytes) {
    this.superblock = superblock;
    this.bytes = bytes;
    this.#read = read;
  }

  /** @returns the reason, phrased to follow "the ext4", when it cannot be read. */
  static async open(read: ReadBytes): Promise<Ext4Volume | string> {
    const bytes = await read(SUPERBLOCK_AT, SUPERBLOCK_BYTES);
    const superblock = parseExt4Superblock(bytes);
    if (superblock === undefined) return 'has no superblock';
    if (superblock.damage !== undefined) return superblock.damage;
    if (superblock.isJournalDevice) return 'is the journal of another filesystem';
    const { inodeBytes, blockBytes, blocksPerGroup, inodesPerGroup } = superblock;
    if (inodeBytes < 128 || inodeBytes > blockBytes || blocksPerGroup === 0 || inodesPerGroup === 0)
      return 'has a superblock with an invalid geometry';
    const volume = new Ext4Volume(superblock, bytes, read);
    const root = await volume.node(ROOT_INODE);
    return root?.type === 'directory' ? volume : 'has no root directory at the position in its group descriptors';
  }

  /** Reads an inode; undefined if the filesystem has no inode with that number. */
  async node(inode: number): Promise<Ext4Node | undefined> {
    const { inodes, inodesPerGroup, inodeBytes, blockBytes } = this.superblock;
    if (inode < 1 || inode > inodes) return undefined;
    const table = await this.#inodeTable(Math.floor((inode - 1) / inodesPerGroup));
    if (table === undefined) return undefined;
    const at = table * blockBytes + ((inode - 1) % inodesPerGroup) * inodeBytes;
    const bytes = await this.#cached(at, inodeBytes);
    return bytes.length < inodeBytes ? undefined : { inode, ...decodeInode(Buffer.from(bytes)) };
  }

  /** Finds the node at a path, without following symbolic links. @param path bytes decoded as latin1, without a leading
   *  slash. */
  async find(path: string): Promise<Ext4Node | undefined> {
    let at = await this.node(ROOT_INODE);
    for (const name of path.split('/').filter((part) => part !== '')) {
      if (at?.type !== 'directory') return undefined;
      let inode: number | undefined;
      for await (const entry of this.entries(at)) if (entry?.name === name) inode = entry.inode;
      at = inode === undefined ? undefined : await this.node(inode);
    }
    return at;
  }

  /** Reads the entries of a directory, except "." and ".."; undefined for a damaged block. */
  async *entries(directory: Ext4Node): AsyncGenerator<DirectoryEntry | undefined> {
    const isOwn = (entry: DirectoryEntry | undefined): boolean => entry?.name !== '.' && entry?.name !== '..';
    const inline = await this.#inline(directory);
    if (inline !== undefined) {
      // The parent's inode number replaces the first two entries.
      yield* decodeEntries(inline.subarray(4, 60)).filter(isOwn);
      yield* decodeEntries(inline.subarray(60)).filter(isOwn);
      return;
    }
    const { blockBytes } = this.superblock;
    const chunk = Math.max(1, Math.floor(DIRECTORY_BYTES / blockBytes));
    const end = Math.ceil(directory.sizeBytes / blockBytes);
    const { extents, isCut } = await this.extents(directory);
    if (isCut) yield undefined;
    for (const { logical, physical, count } of extents)
      for (let done = 0; done < count && logical + done < end; done += chunk) {
        const bytes = await this.#read((physical + done) * blockBytes, Math.min(chunk, count - done) * blockBytes);
        for (let at = 0; at + blockBytes <= bytes.length; at += blockBytes)
          yield* decodeEntries(bytes.subarray(at, at + blockBytes)).filter(isOwn);
      }
  }

  /** Walks the whole tree level by level, starting with the root, whose path is ''. A directory that is linked twice is
   *  entered once.
   *  @param leaveOut is called with a description of each part that is skipped: damaged directories, and too deep
   *  ones. */
  async *tree(leaveOut?: (what: string) => void): AsyncGenerator<PathNode> {
    const root = await this.node(ROOT_INODE);
    if (root === undefined) return;
    yield { path: '', node: root };
    const entered = new Set([ROOT_INODE]);
    let level: readonly PathNode[] = [{ path: '', node: root }];
    for (let depth = 0; level.length > 0; depth += 1) {
      if (depth > DEEPEST_DIRECTORIES) {
        leaveOut?.(`directories nested more than ${DEEPEST_DIRECTORIES} levels deep`);
        return;
      }
      const next: PathNode[] = [];
      for (const directory of level)
        for await (const entry of this.entries(directory.node)) {
          const node = entry === undefined ? undefined : await this.node(entry.inode);
          if (entry === undefined || node === undefined) {
            leaveOut?.(`damaged entries in the directory /${directory.path}`);
            continue;
          }
          const path = directory.path === '' ? entry.name : `${directory.path}/${entry.name}`;
          yield { path, node };
          if (node.type !== 'directory' || entered.has(node.inode)) continue;
          entered.add(node.inode);
          next.push({ path, node });
        }
      level = next;
    }
  }

  /** The positions of a file's written blocks, in the order of the file. `isCut` is true if its map is damaged or
   *  exceeds a limit. */
  async extents(node: Ext4Node): Promise<{ readonly extents: readonly Extent[]; readonly isCut: boolean }> {
    if (isFastLink(node) || (node.flags & INLINE_DATA) !== 0) return { extents: [], isCut: false };
    const found: Extent[] = [];
    let nodes = 0;
    const add = ({ logical, physical, count }: Extent): boolean => {
      const { blocks } = this.superblock;
      if (count === 0) {
        nodes += 1;
        return nodes < MOST_NODES;
      }
      if (physical === 0 || physical + count > blocks) return false;
      const last = found.at(-1);
      if (last !== undefined && last.logical + last.count === logical && last.physical + last.count === physical)
        found[found.length - 1] = { ...last, count: last.count + count };
      else found.push({ logical, physical, count });
      return found.length < MOST_EXTENTS;
    };
    const isWhole = await ((node.flags & EXTENTS) !== 0
      ? this.#addTree(node.map, DEEPEST_EXTENTS + 1, add)
      : this.#addBlockMap(node, add));
    const inOrder = found.every((extent, index) => {
      const before = found[index - 1];
      return before === undefined || before.logical + before.count <= extent.logical;
    });
    return { extents: inOrder ? found : found.sort((a, b) => a.logical - b.logical), isCut: !isWhole };
  }

  /** Reads bytes of the filesystem, such as those of an extent. */
  read(offsetBytes: number, bytes: number): Promise<Buffer> {
    return this.#read(offsetBytes, bytes);
  }

  /** Reads the written parts of a file, in chunks of at most `chunkBytes` with their offsets in the file.
   *  @throws {RangeError} when its block map is damaged or exceeds a limit. */
  async *content(node: Ext4Node, chunkBytes: number): AsyncGenerator<{ readonly at: number; readonly bytes: Buffer }> {
    const inline = await this.#inline(node);
    if (inline !== undefined) {
      yield { at: 0, bytes: inline.subarray(0, node.sizeBytes) };
      return;
    }
    const { blockBytes } = this.superblock;
    const { extents, isCut } = await this.extents(node);
    if (isCut) throw new RangeError(`the block map of inode ${node.inode} is damaged`);
    for (const { logical, physical, count } of extents) {
      const start = logical * blockBytes;
      const end = Math.min((logical + count) * blockBytes, node.sizeBytes);
      for (let at = start; at < end; at += chunkBytes) {
        const bytes = await this.#read(physical * blockBytes + at - start, Math.min(chunkBytes, end - at));
        if (bytes.length > 0) yield { at, bytes };
      }
    }
  }

  /** The target of a symbolic link: bytes decoded as latin1. */
  async linkTarget(node: Ext4Node): Promise<string> {
    if (isFastLink(node)) return node.map.toString('latin1', 0, node.sizeBytes);
    const length = Math.min(node.sizeBytes, LARGEST_LINK);
    const [first] = (await this.extents(node)).extents;
    if (first?.logical !== 0) return (await this.#inline(node))?.toString('latin1', 0, length) ?? '';
    return (await this.#read(first.physical * this.superblock.blockBytes, length)).toString('latin1');
  }

  /** Extended attributes; ACLs are in the format of the system calls. system.data, the content of a small file, is
   *  omitted. */
  async attributes(node: Ext4Node): Promise<FileAttribute[]> {
    const { blockBytes } = this.superblock;
    const block =
      node.attributeBlock === 0 ? Buffer.alloc(0) : await this.#cached(node.attributeBlock * blockBytes, blockBytes);
    const found: FileAttribute[] = [];
    for (const attribute of [...readFromInode(node.room), ...readAttributeBlock(block)]) {
      if (attribute.name === 'system.data') continue;
      if ('value' in attribute) found.push(attribute);
      else found.push({ name: attribute.name, value: await this.#valueIn(attribute.inode, attribute.bytes) });
    }
    return found;
  }

  async #valueIn(inode: number, bytes: number): Promise<Buffer> {
    const node = await this.node(inode);
    const value = Buffer.alloc(Math.min(bytes, LARGEST_ATTRIBUTE));
    if (node === undefined) return value;
    const { blockBytes } = this.superblock;
    for (const { logical, physical, count } of (await this.extents(node)).extents) {
      const at = logical * blockBytes;
      if (at < value.length)
        (await this.#read(physical * blockBytes, Math.min(count * blockBytes, value.length - at))).copy(value, at);
    }
    return value;
  }

  /** The content of a small file or directory that is stored in its inode (inline_data); undefined when it has
   *  blocks. */
  async #inline(node: Ext4Node): Promise<Buffer | undefined> {
    if ((node.flags & INLINE_DATA) === 0) return undefined;
    const more = readFromInode(node.room).find(({ name }) => name === 'system.data');
    return Buffer.concat([node.map, more !== undefined && 'value' in more ? more.value : Buffer.alloc(0)]);
  }

  /** Adds the extents of an extent tree. @param levels the maximum depth. @returns whether all of them were added. */
  async #addTree(bytes: Buffer, levels: number, add: (extent: Extent) => boolean): Promise<boolean> {
    const node = decodeExtentNode(bytes);
    if (node === undefined || node.depth >= levels) return false;
    for (const entry of node.entries) {
      if (node.depth === 0) {
        if (!add(entry)) return false;
      } else {
        const { blocks, blockBytes } = this.superblock;
        // Nodes are counted too: entries that share a block could make the walk endless.
        if (entry.physical >= blocks || !add({ ...entry, count: 0 })) return false;
        const below = await this.#cached(entry.physical * blockBytes, blockBytes);
        if (!(await this.#addTree(below, node.depth, add))) return false;
      }
    }
    return true;
  }

  /** Adds the blocks of an ext2/ext3 block map: twelve direct blocks, and indirect, double and triple indirect
   *  blocks. */
  async #addBlockMap({ map, sizeBytes }: Ext4Node, add: (extent: Extent) => boolean): Promise<boolean> {
    const { blockBytes } = this.superblock;
    const end = Math.ceil(sizeBytes / blockBytes);
    const numbers = blockBytes / 4;
    let logical = 0;
    const walk = async (physical: number, level: number): Promise<boolean> => {
      const covers = numbers ** level;
      if (physical === 0) {
        logical += covers;
        return true;
      }
      if (physical >= this.superblock.blocks) return false;
      if (level === 0) {
        const isTaken = add({ logical, physical, count: 1 });
        logical += 1;
        return isTaken;
      }
      if (!add({ logical, physical, count: 0 })) return false;
      const block = await this.#cached(physical * blockBytes, blockBytes);
      for (let at = 0; at + 4 <= block.length && logical < end; at += 4)
        if (!(await walk(block.readUInt32LE(at), level - 1))) return false;
      return true;
    };
    for (let index = 0; index < 15 && logical < end; index += 1)
      if (!(await walk(map.readUInt32LE(index * 4), Math.max(0, index - 11)))) return false;
    return true;
  }

  /** The first block of a group's inode table; undefined when the group's descriptor is invalid. */
  async #inodeTable(group: number): Promise<number | undefined> {
    const { inodeTable = 0 } = (await this.group(group)) ?? {};
    return inodeTable > 0 && inodeTable < this.superblock.blocks ? inodeTable : undefined;
  }

  /** Reads the descriptor of a block group; undefined if it is beyond the end. */
  async group(group: number): Promise<Group | undefined> {
    const { blockBytes, descriptorBytes, firstDataBlock, firstMetaGroup, blocksPerGroup } = this.superblock;
    const perBlock = Math.floor(blockBytes / descriptorBytes);
    const index = Math.floor(group / perBlock);
    let block = firstDataBlock + 1 + index;
    if (firstMetaGroup !== undefined && index >= firstMetaGroup) {
      const first = index * perBlock;
      const isBehindSuperblock = !this.superblock.isSparse || hasSuperblock(first);
      block = firstDataBlock + first * blocksPerGroup + (isBehindSuperblock ? 1 : 0);
    }
    const descriptor = await this.#cached(block * blockBytes + (group % perBlock) * descriptorBytes, descriptorBytes);
    return descriptor.length < descriptorBytes ? undefined : decodeGroup(descriptor);
  }

  /** Reads a block; shorter at the end of the filesystem. */
  block(number: number): Promise<Buffer> {
    const { blockBytes } = this.superblock;
    return this.#read(number * blockBytes, blockBytes);
  }

  /** Reads through a page cache, for small structures near others that are read next: inodes, descriptors, indirect
   *  blocks. */
  async #cached(offsetBytes: number, bytes: number): Promise<Buffer> {
    const first = Math.floor(offsetBytes / PAGE_BYTES);
    if (Math.floor((offsetBytes + bytes - 1) / PAGE_BYTES) !== first) return this.#read(offsetBytes, bytes);
    let page = this.#pages.get(first);
    if (page === undefined) {
      page = await this.#read(first * PAGE_BYTES, PAGE_BYTES);
      const [oldest] = this.#pages.keys();
      if (this.#pages.size >= MOST_PAGES && oldest !== undefined) this.#pages.delete(oldest);
    } else this.#pages.delete(first);
    // A Map keeps insertion order, so that the first key is the least recently used.
    this.#pages.set(first, page);
    const at = offsetBytes - first * PAGE_BYTES;
    return page.subarray(at, at + bytes);
  }
}

/** Whether a link's target is stored in its inode. */
function isFastLink({ type, sizeBytes, flags, map }: Ext4Node): boolean {
  return type === 'symlink' && (flags & (EXTENTS | INLINE_DATA)) === 0 && sizeBytes < map.length;
}

/** Block numbers in a group's descriptor, and whether its block bitmap was never written. */
export interface Group {
  readonly blockBitmap: number;
  readonly inodeBitmap: number;
  readonly inodeTable: number;
  readonly hasNoBlockBitmap: boolean;
}

function decodeGroup(descriptor: Buffer): Group {
  const block = (low: number, high: number): number =>
    descriptor.readUInt32LE(low) + (descriptor.length >= 64 ? descriptor.readUInt32LE(high) : 0) * 2 ** 32;
  return {
    blockBitmap: block(0x0, 0x20),
    inodeBitmap: block(0x4, 0x24),
    inodeTable: block(0x8, 0x28),
    hasNoBlockBitmap: (descriptor.readUInt16LE(0x12) & BLOCK_UNINIT) !== 0,
  };
}
