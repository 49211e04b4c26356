import { closeSync, openSync, readSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { attributeBlock } from '../../formats/ext4/attributes.ts';
import { DirectoryEntries, ENTRY_TYPES, emptyBlock, LONGEST_NAME, MOST_ENTRIES } from '../../formats/ext4/directory.ts';
import {
  EARLIEST_SECONDS,
  EXTENTS,
  type Ext4Inode,
  type Extent,
  extentMap,
  fitsIntoInode,
  INDEXED,
  LATEST_SECONDS,
  MAP_BYTES,
  MOST_LINKS,
  NO_MAP,
} from '../../formats/ext4/inode.ts';
import { BLOCK_BYTES } from '../../formats/ext4/layout.ts';
import { UnexpectedStateError } from '../../run/errors.ts';
import type { StepRunner } from '../../run/step.ts';
import { roundUp } from '../../units.ts';
import { changed, dataPlaces, findData, pauses, SHORTEST_HOLE } from '../data-runs.ts';
import { CHUNK_BYTES, GatheredOutput } from '../gathered-output.ts';
import { Region } from '../region.ts';
import type { TreeEntry, TreeEntryType } from '../tree.ts';
import { Ext4Allocator } from './allocator.ts';
import { InodeTable } from './inode-table.ts';

const ROOT_INODE = 2;
const LOST_AND_FOUND = 'lost+found';
/** mkfs.ext4 makes it, with some empty blocks. @see e2fsck(8) */
const LOST_AND_FOUND_INODE = 11;

const TYPE_BITS: Readonly<Record<TreeEntryType, number>> = {
  file: 0o100000,
  directory: 0o040000,
  symlink: 0o120000,
  fifo: 0o010000,
};

export interface FilledExt4 {
  /** Inodes allocated for the tree; mkfs allocated those of the root and lost+found. */
  readonly inodes: number;
}

/** Fills an ext4 that mkfs.ext4 has just made with a tree, entry by entry in the tree's order: the same tree gives the
 *  same bytes. Inodes, blocks and directories are written by this process, each block once and in order; blocks of
 *  zeros become holes. A directory of several blocks gets an index (htree); a file with more than 65,000 hard links is
 *  split. Memory holds the entries of the directories on the current path, and the inodes of hard-linked files.
 *  @param tree must list a directory before its entries, and sort names by their bytes.
 *  @param timestamp seconds since 1970 for the superblock; an entry's times are all its modification time.
 *  @param totalBytes of the tree's files, for the step's progress; default: not known, and not reported.
 *  @throws {FilesystemFullError} for a tree that does not fit.
 *  @throws {UnexpectedStateError} for an entry that an ext4 cannot store. Runs, for a sparse file: filefrag. */
export async function fillExt4(
  step: StepRunner,
  { image, offsetBytes }: { readonly image: string; readonly offsetBytes: number },
  tree: Iterable<TreeEntry>,
  timestamp: number,
  totalBytes?: number,
): Promise<FilledExt4> {
  await using handle = await open(image, 'r+');
  const output = new GatheredOutput(handle, offsetBytes);
  const filling = new Filling(step, new Region(handle.fd, offsetBytes), output, totalBytes);
  for (const entry of tree) await filling.add(entry);
  return await filling.finish(timestamp);
}

/** A directory that is not complete yet. */
interface OpenDirectory {
  readonly entry: TreeEntry;
  readonly inode: number;
  readonly entries: DirectoryEntries;
  subdirectories: number;
  /** Blocks that mkfs gave it. */
  readonly given: readonly number[];
}

class Filling {
  readonly #step: StepRunner;
  readonly #allocator: Ext4Allocator;
  readonly #inodes: InodeTable;
  readonly #output: GatheredOutput;
  readonly #totalBytes: number | undefined;
  readonly #pause: () => Promise<void> | undefined;
  /** One more byte than is read at once, to notice a file that has grown. */
  readonly #chunk = Buffer.allocUnsafe(CHUNK_BYTES + 1);
  /** The directories from the root to the current one. */
  readonly #path: OpenDirectory[] = [];
  /** Hard-linked files by TreeEntry.hardLink. */
  readonly #linked = new Map<string, { readonly inode: number; names: number }>();
  #made = 0;
  /** Of files, in whole blocks. */
  #doneBytes = 0;

  constructor(step: StepRunner, region: Region, output: GatheredOutput, totalBytes: number | undefined) {
    this.#step = step;
    this.#totalBytes = totalBytes;
    this.#allocator = new Ext4Allocator(region);
    this.#inodes = new InodeTable(region, this.#allocator);
    this.#output = output;
    this.#pause = pauses(step);
  }

  async add(entry: TreeEntry): Promise<void> {
    await this.#pause();
    if (entry.mtime < EARLIEST_SECONDS || entry.mtime > LATEST_SECONDS)
      throw this.#cannot(entry, `its time is ${entry.mtime} s since 1970`, 'from 1901 to 2446');
    if (entry.path === '') return this.#openRoot(entry);
    const parent = await this.#parentOf(entry);
    const name = entry.path.slice(parent.entry.path === '' ? 0 : parent.entry.path.length + 1);
    if (name.length > LONGEST_NAME) throw this.#cannot(entry, `its name has ${name.length} bytes`, 'at most 255');
    if (parent.entries.count === MOST_ENTRIES)
      throw this.#cannot(entry, 'its directory is full', `at most ${MOST_ENTRIES} entries`);
    if (entry.path === LOST_AND_FOUND) return this.#openLostAndFound(entry);
    const inode = await this.#make(entry);
    parent.entries.add(name, inode, ENTRY_TYPES[entry.type]);
    if (entry.type === 'directory') parent.subdirectories += 1;
    else {
      this.#doneBytes += roundUp(entry.sizeBytes, BLOCK_BYTES);
      this.#report(this.#doneBytes);
    }
  }

  #report(doneBytes: number): void {
    if (this.#totalBytes !== undefined) this.#step.progress(doneBytes, this.#totalBytes);
  }

  async finish(timestamp: number): Promise<FilledExt4> {
    while (this.#path.length > 0) await this.#close();
    for (const { inode, names } of this.#linked.values()) if (names > 1) this.#inodes.setLinks(inode, names);
    this.#inodes.flush();
    this.#allocator.finish(timestamp);
    await this.#output.end();
    return { inodes: this.#made };
  }

  /** Creates the inode of an entry, or finds it for a hard link. @returns its number. */
  async #make(entry: TreeEntry): Promise<number> {
    const { hardLink, type } = entry;
    const known = hardLink === undefined ? undefined : this.#linked.get(hardLink);
    if (known !== undefined && known.names < MOST_LINKS) {
      known.names += 1;
      return known.inode;
    }
    if (known !== undefined) this.#inodes.setLinks(known.inode, known.names);
    const inode = this.#allocator.nextInode(type === 'directory');
    this.#made += 1;
    if (hardLink !== undefined) this.#linked.set(hardLink, { inode, names: 1 });
    if (type === 'directory') this.#open(entry, inode, []);
    else if (type === 'symlink') await this.#writeSymlink(entry, inode);
    else if (type === 'fifo') await this.#write(entry, inode, { sizeBytes: 0, blocks: 0, flags: 0, map: NO_MAP });
    else await this.#writeFile(entry, inode);
    return inode;
  }

  #openRoot(entry: TreeEntry): void {
    const root = this.#open(entry, ROOT_INODE, this.#inodes.blocksOf(ROOT_INODE));
    root.entries.add(LOST_AND_FOUND, LOST_AND_FOUND_INODE, ENTRY_TYPES.directory);
    root.subdirectories = 1;
  }

  #openLostAndFound(entry: TreeEntry): void {
    if (entry.type !== 'directory')
      throw this.#cannot(entry, `it is a ${entry.type}`, 'the directory that mkfs.ext4 makes');
    this.#open(entry, LOST_AND_FOUND_INODE, this.#inodes.blocksOf(LOST_AND_FOUND_INODE));
  }

  #open(entry: TreeEntry, inode: number, given: readonly number[]): OpenDirectory {
    const opened = { entry, inode, entries: new DirectoryEntries(), subdirectories: 0, given };
    this.#path.push(opened);
    return opened;
  }

  /** Completes directories until the entry's parent is the current one. */
  async #parentOf(entry: TreeEntry): Promise<OpenDirectory> {
    const parent = entry.path.slice(0, Math.max(0, entry.path.lastIndexOf('/')));
    for (;;) {
      const last = this.#path.at(-1);
      if (last?.entry.path === parent) return last;
      if (this.#path.length <= 1)
        throw this.#cannot(entry, `/${parent} is not before it`, 'its directory before it in the tree');
      await this.#close();
    }
  }

  async #close(): Promise<void> {
    const closed = this.#path.pop();
    if (closed === undefined) return;
    const { entry, inode, entries, subdirectories, given } = closed;
    const seed = this.#inodes.seed(inode);
    const parent = this.#path.at(-1)?.inode ?? inode;
    const blocks = entries.blocks(inode, parent, this.#allocator.layout.nameHash, seed);
    const isIndexed = blocks.length > 1;
    if (isIndexed && blocks.length < given.length)
      throw this.#cannot(entry, `it has ${entries.count} entries`, 'entries that fit into a block');
    while (blocks.length < given.length) blocks.push(emptyBlock(seed));
    const places = [...given];
    for (const { physical, count } of this.#allocator.take(blocks.length - given.length))
      for (let index = 0; index < count; index += 1) places.push(physical + index);
    const extents: Extent[] = [];
    for (const [logical, physical] of places.entries()) {
      append(extents, { logical, physical, count: 1 });
      (await this.#room(physical, 1)).set(blocks[logical] ?? []);
    }
    const links = 2 + subdirectories;
    await this.#writeMapped(entry, inode, extents, blocks.length * BLOCK_BYTES, {
      links: links > MOST_LINKS ? 1 : links,
      flags: isIndexed ? INDEXED : 0,
    });
  }

  async #writeSymlink(entry: TreeEntry, inode: number): Promise<void> {
    const target = Buffer.from(entry.target, 'latin1');
    if (target.length < MAP_BYTES) {
      const map = Buffer.alloc(MAP_BYTES);
      target.copy(map);
      await this.#write(entry, inode, { sizeBytes: target.length, blocks: 0, flags: 0, map });
      return;
    }
    if (target.length >= BLOCK_BYTES)
      throw this.#cannot(entry, `its target has ${target.length} bytes`, 'at most 4095');
    const extents: Extent[] = [];
    for (const { physical, count } of this.#allocator.take(1)) {
      append(extents, { logical: 0, physical, count });
      const room = await this.#room(physical, 1);
      target.copy(room);
      room.fill(0, target.length);
    }
    await this.#writeMapped(entry, inode, extents, target.length);
  }

  async #writeFile(entry: TreeEntry, inode: number): Promise<void> {
    const extents: Extent[] = [];
    if (entry.sizeBytes > 0) {
      const source = Buffer.from(entry.source, 'latin1');
      const input = openSync(source, 'r');
      try {
        for (const { start, end } of await dataPlaces(this.#step, input, source, entry.sizeBytes))
          for (let at = start; at < end; at += CHUNK_BYTES) {
            await this.#pause();
            const wanted = Math.min(CHUNK_BYTES, end - at);
            const isLast = at + wanted === entry.sizeBytes;
            const read = readSync(input, this.#chunk, 0, isLast ? wanted + 1 : wanted, at);
            if (read !== wanted) throw changed(this.#step, source);
            await this.#writeData(this.#chunk.subarray(0, read), at / BLOCK_BYTES, extents);
            this.#report(this.#doneBytes + at);
          }
      } finally {
        closeSync(input);
      }
    }
    await this.#writeMapped(entry, inode, extents, entry.sizeBytes);
  }

  /** Allocates and writes the blocks of a chunk that hold data, and short holes before them. @param first number of the
   *  chunk's first block in the file. */
  async #writeData(bytes: Buffer, first: number, extents: Extent[]): Promise<void> {
    for (const { start: dataStart, count: dataCount } of findData(bytes, first)) {
      const last = extents.at(-1);
      const end = last === undefined ? -SHORTEST_HOLE : last.logical + last.count;
      const start = dataStart - end < SHORTEST_HOLE ? end : dataStart;
      let logical = start;
      for (const range of this.#allocator.take(dataStart + dataCount - start)) {
        append(extents, { logical, ...range });
        for (let done = 0; done < range.count; ) {
          const count = Math.min(range.count - done, CHUNK_BYTES / BLOCK_BYTES);
          const room = await this.#room(range.physical + done, count);
          // Zeros: a short hole that began in an earlier chunk, and what follows the end of the file.
          const hole = Math.max(0, Math.min(count, first - logical)) * BLOCK_BYTES;
          const from = (logical - first) * BLOCK_BYTES + hole;
          room.fill(0, 0, hole);
          const copied = bytes.copy(room, hole, from);
          room.fill(0, hole + copied);
          logical += count;
          done += count;
        }
      }
    }
  }

  /** Writes an extent tree and the inode that it belongs to. */
  async #writeMapped(
    entry: TreeEntry,
    inode: number,
    extents: readonly Extent[],
    sizeBytes: number,
    { links = 1, flags = 0 } = {},
  ): Promise<void> {
    const { map, blocks } = extentMap(extents, () => this.#takeOne(), this.#inodes.seed(inode));
    for (const { physical, bytes } of blocks) (await this.#room(physical, 1)).set(bytes);
    const used = extents.reduce((sum, { count }) => sum + count, blocks.length);
    await this.#write(entry, inode, { sizeBytes, blocks: used, flags: EXTENTS | flags, map, links });
  }

  async #write(entry: TreeEntry, inode: number, content: Content): Promise<void> {
    const { type, mode, uid, gid, mtime: seconds, attributes } = entry;
    const { sizeBytes, blocks, flags, map, links = 1 } = content;
    const basic = { mode: TYPE_BITS[type] | mode, uid, gid, sizeBytes, seconds, links, blocks, flags, map };
    if (attributes === undefined) return this.#inodes.write(inode, basic);
    if (fitsIntoInode(attributes)) return this.#inodes.write(inode, { ...basic, attributes });
    const physical = this.#takeOne();
    const block = attributeBlock(attributes, physical, this.#allocator.layout.checksumSeed);
    if (block === undefined)
      throw this.#cannot(
        entry,
        'its extended attributes are too large',
        'attributes that fit into a block of 4096 bytes',
      );
    (await this.#room(physical, 1)).set(block);
    this.#inodes.write(inode, { ...basic, blocks: blocks + 1, attributeBlock: physical });
  }

  #takeOne(): number {
    return this.#allocator.take(1)[0]?.physical ?? 0;
  }

  /** The buffer for contiguous blocks that will be written at a position in the filesystem. */
  async #room(physical: number, count: number): Promise<Buffer> {
    if (!this.#output.continuesAt(physical, count)) await this.#output.flush();
    return this.#output.place(physical, count);
  }

  #cannot({ path }: TreeEntry, found: string, expected: string): UnexpectedStateError {
    return new UnexpectedStateError(this.#step.step, `cannot put ${JSON.stringify(`/${path}`)} into an ext4`, {
      found,
      expected,
    });
  }
}

/** The fields of an inode that depend on its content. */
interface Content extends Pick<Ext4Inode, 'sizeBytes' | 'blocks' | 'flags' | 'map'> {
  readonly links?: number;
}

/** Appends an extent, merged with the last one where they are contiguous. */
function append(extents: Extent[], { logical, physical, count }: Extent): void {
  const last = extents.at(-1);
  const follows =
    last !== undefined && last.logical + last.count === logical && last.physical + last.count === physical;
  if (follows) extents[extents.length - 1] = { ...last, count: last.count + count };
  else extents.push({ logical, physical, count });
}
