import { boundedBytes } from '../formats/bounded.ts';
import type { ReadBytes } from '../formats/extent.ts';
import { type FatLayout, parseFatLayout } from '../formats/fat.ts';

/** A file or directory on a FAT. */
export interface FatNode {
  /** The path from the root, without a leading slash. */
  readonly path: string;
  readonly type: 'file' | 'directory';
  readonly sizeBytes: number;
  readonly firstCluster: number;
  /** Read-only 1, hidden 2, system 4, archive 32. */
  readonly attributes: number;
  /** `2024-01-31T12:00:00.000Z`. Times on a FAT have no time zone. */
  readonly modified: string;
}

export interface FatTree {
  readonly nodes: readonly FatNode[];
  /** Descriptions of damage, as sentences. */
  readonly damage: readonly string[];
  /** Whether there are more entries than requested. */
  readonly isCut: boolean;
}

interface ClusterRun {
  readonly cluster: number;
  readonly count: number;
}

const PAGE_BYTES = 64 * 1024;
const MOST_PAGES = 32;
const ENTRY_BYTES = 32;
const DEEPEST = 64;
const MOST_DAMAGE = 20;

/** Reads an untrusted FAT: no chain is followed beyond the number of clusters, no directory is read twice, and neither
 *  a file nor the allocation table is held in memory as a whole. Names are never passed to a program or a shell.
 *  @see Microsoft, "FAT: General Overview of On-Disk Format" */
export class FatVolume {
  readonly layout: FatLayout;
  readonly #read: ReadBytes;
  readonly #pages = new Map<number, Buffer>();

  private constructor(layout: FatLayout, read: ReadBytes) {
    this.layout = layout;
    this.#read = read;
  }

  /** @returns undefined when there is no FAT. */
  static async open(read: ReadBytes): Promise<FatVolume | undefined> {
    const layout = parseFatLayout(await read(0, 512));
    return layout === undefined ? undefined : new FatVolume(layout, read);
  }

  /** Lists all files, directory by directory, in the order of the directories' entries.
   *  @param most the maximum number of entries. */
  async tree(most: number): Promise<FatTree> {
    const nodes: FatNode[] = [];
    const damage: string[] = [];
    const seen = new Set<number>();
    const { rootCluster } = this.layout;
    let level: { readonly path: string; readonly cluster: number | undefined; readonly depth: number }[] = [
      { path: '', cluster: rootCluster, depth: 0 },
    ];
    const say = (text: string): void => {
      if (damage.length < MOST_DAMAGE) damage.push(text);
    };
    if (rootCluster !== undefined) seen.add(rootCluster);
    while (level.length > 0) {
      const next: typeof level = [];
      for (const directory of level) {
        const entries = await this.#directory(directory.path, directory.cluster, most - nodes.length, say);
        for (const node of entries) {
          if (nodes.length >= most) return { nodes, damage, isCut: true };
          nodes.push(node);
          if (node.type !== 'directory') continue;
          if (seen.has(node.firstCluster))
            say(`the directory /${node.path} is linked twice: another directory has the same clusters`);
          else if (directory.depth >= DEEPEST)
            say(`the directory /${node.path} is nested more than ${DEEPEST} levels deep`);
          else next.push({ path: node.path, cluster: node.firstCluster, depth: directory.depth + 1 });
          seen.add(node.firstCluster);
        }
      }
      level = next;
    }
    return { nodes, damage, isCut: false };
  }

  /** Reads bytes of a file from an offset. Returns fewer bytes if the file or its cluster chain ends. */
  async readFile({ firstCluster, sizeBytes }: FatNode, offsetBytes: number, bytes: number): Promise<Buffer> {
    const { clusterBytes } = this.layout;
    const end = Math.min(offsetBytes + bytes, sizeBytes);
    const parts: Buffer[] = [];
    let at = 0;
    for await (const { cluster, count } of this.#runs(firstCluster, end)) {
      const [from, to] = [Math.max(at, offsetBytes), Math.min(at + count * clusterBytes, end)];
      if (from < to) {
        const part = await this.#read(this.#clusterAt(cluster) + from - at, to - from);
        parts.push(part);
        if (part.length < to - from) break;
      }
      at += count * clusterBytes;
      if (at >= end) break;
    }
    return Buffer.concat(parts);
  }

  /** How many bytes of a file its cluster chain covers. It covers the whole file unless the FAT is damaged. */
  async chainedBytes({ firstCluster, sizeBytes }: FatNode): Promise<number> {
    let bytes = 0;
    for await (const { count } of this.#runs(firstCluster, sizeBytes)) bytes += count * this.layout.clusterBytes;
    return Math.min(bytes, sizeBytes);
  }

  /** The free space, from the entries of the allocation table that are 0. */
  async freeBytes(): Promise<number> {
    const { clusters, clusterBytes } = this.layout;
    let free = 0;
    for (let cluster = 2; cluster < clusters + 2; cluster += 1) {
      const entry = this.#entryInMemory(cluster) ?? (await this.#entry(cluster));
      if (entry === undefined) break;
      if (entry === 0) free += 1;
    }
    return boundedBytes(free, clusterBytes);
  }

  /** Follows a cluster chain until it covers `bytes` or ends. Yields runs of contiguous clusters. */
  async *#runs(first: number, bytes: number): AsyncGenerator<ClusterRun> {
    const { clusters, clusterBytes } = this.layout;
    let left = Math.min(Math.ceil(bytes / clusterBytes), clusters);
    let run = { cluster: first, count: 0 };
    // The count limits a chain that loops.
    for (let cluster = first; left > 0 && cluster >= 2 && cluster < clusters + 2; left -= 1) {
      if (cluster === run.cluster + run.count) run = { cluster: run.cluster, count: run.count + 1 };
      else {
        yield run;
        run = { cluster, count: 1 };
      }
      if (left === 1) break;
      const next = this.#entryInMemory(cluster) ?? (await this.#entry(cluster));
      if (next === undefined) break;
      cluster = next;
    }
    if (run.count > 0) yield run;
  }

  #clusterAt(cluster: number): number {
    return this.layout.dataAt + (cluster - 2) * this.layout.clusterBytes;
  }

  #entryAt(cluster: number): number {
    const { bits, tableAt } = this.layout;
    return tableAt + (bits === 12 ? cluster + (cluster >> 1) : (cluster * bits) / 8);
  }

  /** Reads the page that contains an entry; undefined if it is beyond the end of the image. */
  async #entry(cluster: number): Promise<number | undefined> {
    const at = this.#entryAt(cluster);
    for (const page of new Set([Math.floor(at / PAGE_BYTES), Math.floor((at + 1) / PAGE_BYTES)])) {
      if (this.#pages.has(page)) continue;
      const oldest = this.#pages.keys().next();
      if (this.#pages.size >= MOST_PAGES && oldest.done !== true) this.#pages.delete(oldest.value);
      this.#pages.set(page, await this.#read(page * PAGE_BYTES, PAGE_BYTES));
    }
    return this.#entryInMemory(cluster);
  }

  #entryInMemory(cluster: number): number | undefined {
    const { bits } = this.layout;
    const at = this.#entryAt(cluster);
    const byte = (index: number): number | undefined =>
      this.#pages.get(Math.floor((at + index) / PAGE_BYTES))?.[(at + index) % PAGE_BYTES];
    const [low, high] = [byte(0), byte(1)];
    if (low === undefined || high === undefined) return undefined;
    if (bits === 16) return low | (high << 8);
    if (bits === 12) return (cluster & 1) === 0 ? low | ((high & 0x0f) << 8) : (low >> 4) | (high << 4);
    const [third, fourth] = [byte(2), byte(3)];
    if (third === undefined || fourth === undefined) return undefined;
    return (low | (high << 8) | (third << 16) | (fourth << 24)) & 0x0fff_ffff;
  }

  /** Reads a directory. @param cluster undefined for the root of a FAT12 or FAT16, which has a separate area. */
  async #directory(
    path: string,
    cluster: number | undefined,
    most: number,
    say: (damage: string) => void,
  ): Promise<FatNode[]> {
    const { rootAt, rootBytes } = this.layout;
    const nodes: FatNode[] = [];
    const name = new LongName();
    // Reading stops at the requested number of entries, and at 2 MiB, the maximum size of a directory.
    const take = (bytes: Buffer): boolean => {
      for (let at = 0; at + ENTRY_BYTES <= bytes.length; at += ENTRY_BYTES) {
        const entry = bytes.subarray(at, at + ENTRY_BYTES);
        if (entry[0] === 0) return false;
        const node = parseEntry(entry, path, name, this.layout.bits);
        if (node === undefined) continue;
        nodes.push(node);
        if (nodes.length > most) return false;
      }
      return true;
    };
    if (cluster === undefined) {
      take(await this.#read(rootAt, rootBytes));
      return nodes;
    }
    const seen = new Set<number>();
    for await (const run of this.#runs(cluster, 65_536 * ENTRY_BYTES))
      for (let index = 0; index < run.count; index += 1) {
        if (seen.has(run.cluster + index)) {
          say(`the clusters of the directory /${path} form a loop`);
          return nodes;
        }
        seen.add(run.cluster + index);
        if (!take(await this.#read(this.#clusterAt(run.cluster + index), this.layout.clusterBytes))) return nodes;
      }
    if (seen.size === 0) say(`the directory /${path} has no clusters`);
    return nodes;
  }
}

/** Assembles a long name, whose parts are before its entry, the last part first. */
class LongName {
  #pieces: string[] = [];
  #checksum = -1;

  add(entry: Buffer): void {
    const order = entry.readUInt8(0);
    if ((order & 0x40) !== 0) this.#pieces = [];
    this.#checksum = entry.readUInt8(13);
    const units = Buffer.concat([entry.subarray(1, 11), entry.subarray(14, 26), entry.subarray(28, 32)]);
    this.#pieces.unshift(units.toString('utf16le').replace(/[\0\uffff].*$/s, ''));
    if (this.#pieces.length > 20) this.#pieces = [];
  }

  /** The long name of the entry with this short name; undefined when it has none. */
  take(short: Buffer): string | undefined {
    let sum = 0;
    for (const byte of short) sum = (((sum & 1) << 7) + (sum >> 1) + byte) & 0xff;
    const name = this.#pieces.join('');
    this.#pieces = [];
    return name !== '' && sum === this.#checksum ? name : undefined;
  }
}

const ATTRIBUTES = { volume: 0x08, directory: 0x10, longName: 0x0f };

/** Parses a directory entry. @returns undefined when it is not a file or directory. */
function parseEntry(entry: Buffer, directory: string, longName: LongName, bits: number): FatNode | undefined {
  const attributes = entry.readUInt8(11);
  const first = entry.readUInt8(0);
  if (first === 0xe5) return undefined;
  if ((attributes & 0x3f) === ATTRIBUTES.longName) {
    longName.add(entry);
    return undefined;
  }
  const long = longName.take(entry.subarray(0, 11));
  if ((attributes & ATTRIBUTES.volume) !== 0) return undefined;
  const name = (long ?? shortName(entry)).replaceAll('/', '\ufffd');
  if (name === '' || name === '.' || name === '..') return undefined;
  const isDirectory = (attributes & ATTRIBUTES.directory) !== 0;
  return {
    path: directory === '' ? name : `${directory}/${name}`,
    type: isDirectory ? 'directory' : 'file',
    sizeBytes: isDirectory ? 0 : entry.readUInt32LE(28),
    // Only FAT32 has the upper half; on others, it is 0 or undefined.
    firstCluster: entry.readUInt16LE(26) + (bits === 32 ? entry.readUInt16LE(20) * 65_536 : 0),
    attributes: attributes & 0x27,
    modified: fatTime(entry.readUInt16LE(24), entry.readUInt16LE(22)),
  };
}

/** Formats an 8.3 name. Windows and Linux record whether its two parts are in lower case. */
function shortName(entry: Buffer): string {
  const small = entry.readUInt8(12);
  const bytes = Buffer.from(entry.subarray(0, 11));
  if (bytes[0] === 0x05) bytes[0] = 0xe5;
  const part = (from: number, to: number, isSmall: boolean): string => {
    const text = bytes.toString('latin1', from, to).trimEnd();
    return isSmall ? text.toLowerCase() : text;
  };
  const extension = part(8, 11, (small & 0x10) !== 0);
  return `${part(0, 8, (small & 0x08) !== 0)}${extension === '' ? '' : `.${extension}`}`;
}

function fatTime(date: number, time: number): string {
  const at = Date.UTC(
    1980 + (date >> 9),
    ((date >> 5) & 15) - 1,
    date & 31,
    time >> 11,
    (time >> 5) & 63,
    (time & 31) * 2,
  );
  return new Date(at).toISOString();
}
