import type { Ext4Node, Ext4Volume } from '../filesystem/ext4/volume.ts';
import type { Extent as BlockExtent } from '../formats/ext4/inode.ts';
import { superblockFields } from '../formats/ext4/superblock.ts';
import type { Budget } from '../inspect/budget.ts';
import type { Run } from './byte-ranges.ts';
import { compareFields, type Difference, Differences, notCompared } from './difference.ts';

/** The limit of paths in each filesystem. */
const MOST_PATHS = 300_000;
/** The limit of reports about skipped parts. */
const MOST_LEFT_OUT = 20;
const CHUNK_BYTES = 1024 * 1024;

/** The data of a path that are compared. */
interface Side {
  readonly volume: Ext4Volume;
  readonly node: Ext4Node;
  readonly extents: readonly BlockExtent[];
  /** Whether the block map is damaged or exceeds a limit, so that extents are missing. */
  readonly isCut: boolean;
  readonly fields: Readonly<Record<string, string>>;
}

/** Compares two ext4 filesystems: the superblocks, then the attributes and content of each path, independent of their
 *  position. If these are equal, it lists the blocks that differ.
 *  @param runs blocks that differ; undefined when the filesystems are at different positions. */
export async function diffExt4(
  budget: Budget,
  where: string,
  a: Ext4Volume,
  b: Ext4Volume,
  runs: { readonly blockBytes: number; readonly found: readonly Run[] } | undefined,
): Promise<Difference[]> {
  const found = new Differences(where);
  found.add(...compareFields(where, 'superblock', superblockFields(a.bytes), superblockFields(b.bytes)));
  const [blocksA, blocksB] = [a.superblock.blockBytes, b.superblock.blockBytes];
  const [treeA, treeB] = [await listTree(budget, a), await listTree(budget, b)];
  for (const [tree, side] of [[treeA, 'a'] as const, [treeB, 'b'] as const])
    for (const left of tree.leftOut) found.add(notCompared(where, `${side}: ${left}`));
  const differing = runs?.blockBytes === blocksA ? runs.found : undefined;
  const owners = new Map<number, string>();
  const paths = [...new Set([...treeA.inodes.keys(), ...treeB.inodes.keys()])].sort();
  for (const path of paths) {
    budget.check();
    const [sideA, sideB] = [await look(a, treeA.inodes.get(path)), await look(b, treeB.inodes.get(path))];
    const what = `/${Buffer.from(path, 'latin1').toString('utf8')}`;
    if (sideA === undefined || sideB === undefined) {
      if (sideA !== undefined || sideB !== undefined)
        found.add({ where, what, a: sideA && describe(sideA), b: sideB && describe(sideB) });
      continue;
    }
    found.add(...compareFields(where, what, sideA.fields, sideB.fields));
    ownersOf(sideA, what, differing ?? [], owners);
    if (differing !== undefined && blocksA === blocksB && areSame(sideA, sideB, differing)) continue;
    if (sideA.isCut || sideB.isCut) found.add(notCompared(where, `${what}, whose block map is damaged`));
    const first = await firstDifference(budget, sideA, sideB);
    if (first !== undefined) found.add({ where, what, field: 'content', ...first });
  }
  // The different bytes are in unused space, in the journal, or in the order of a directory.
  if (found.length === 0)
    found.add(
      ...(runs?.found ?? []).map(({ first, count }) => ({
        where,
        what: owners.get(first) ?? 'filesystem structures or unused space',
        field: `block ${first}${count === 1 ? '' : ` to ${first + count - 1}`}`,
        a: 'other bytes',
        b: 'other bytes',
      })),
    );
  return found.all;
}

interface Tree {
  /** Inodes by path. Paths are bytes decoded as latin1; the root is ''. */
  readonly inodes: ReadonlyMap<string, number>;
  readonly leftOut: readonly string[];
}

async function listTree(budget: Budget, volume: Ext4Volume): Promise<Tree> {
  const inodes = new Map<string, number>();
  const leftOut = new Set<string>();
  for await (const { path, node } of volume.tree((what) => {
    if (leftOut.size < MOST_LEFT_OUT) leftOut.add(what);
  })) {
    budget.check();
    if (inodes.size >= MOST_PATHS) {
      leftOut.add(`paths beyond the first ${MOST_PATHS}`);
      break;
    }
    inodes.set(path, node.inode);
  }
  return { inodes, leftOut: [...leftOut] };
}

async function look(volume: Ext4Volume, inode: number | undefined): Promise<Side | undefined> {
  const node = inode === undefined ? undefined : await volume.node(inode);
  if (node === undefined) return undefined;
  const { times, flags, generation, uid, gid, sizeBytes, links, type } = node;
  const fields: Record<string, string> = {
    ...{ type, mode: octal(node.mode), flags: `0x${flags.toString(16)}`, generation: `${generation}` },
    ...{ user: `${uid}`, group: `${gid}`, size: `${sizeBytes}`, links: `${links}` },
  };
  for (const [name, nanoseconds] of Object.entries(times)) fields[name] = timeOf(nanoseconds);
  if (type === 'symlink') fields.target = Buffer.from(await volume.linkTarget(node), 'latin1').toString('utf8');
  for (const { name, value } of await volume.attributes(node)) fields[`attribute ${name}`] = value.toString('hex');
  return { volume, node, fields, ...(await volume.extents(node)) };
}

function timeOf(nanoseconds: bigint): string {
  const seconds = nanoseconds / 1_000_000_000n;
  const rest = nanoseconds - seconds * 1_000_000_000n;
  const date = new Date(Number(seconds) * 1000);
  const text = Number.isNaN(date.getTime()) ? `${seconds} s` : date.toISOString().replace('.000Z', '');
  return rest === 0n ? text : `${text}.${`${rest}`.padStart(9, '0')}`;
}

const octal = (mode: number): string => mode.toString(8).padStart(4, '0');

function describe({ node }: Side): string {
  return `${node.type}, mode ${octal(node.mode)}, ${node.sizeBytes} bytes`;
}

/** Whether two files have the same blocks, and none of these differs, so that they need not be read again. */
function areSame(a: Side, b: Side, differing: readonly Run[]): boolean {
  if (a.node.sizeBytes !== b.node.sizeBytes || a.extents.length !== b.extents.length) return false;
  return a.extents.every((extent, index) => {
    const other = b.extents[index];
    const isEqual =
      other?.logical === extent.logical && other.physical === extent.physical && other.count === extent.count;
    return isEqual && firstRunAfter(differing, extent.physical) >= extent.physical + extent.count;
  });
}

/** The start of the first run that ends after a block, or the block itself if the run contains it. */
function firstRunAfter(runs: readonly Run[], block: number): number {
  let [low, high] = [0, runs.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    const run = runs[middle];
    if (run !== undefined && run.first + run.count <= block) low = middle + 1;
    else high = middle;
  }
  const run = runs[low];
  return run === undefined ? Number.POSITIVE_INFINITY : Math.max(run.first, block);
}

/** Records a path as the owner of each run of differing blocks that starts in one of its extents. */
function ownersOf({ extents }: Side, path: string, differing: readonly Run[], owners: Map<number, string>): void {
  if (differing.length === 0) return;
  for (const { physical, count } of extents)
    for (const { first } of differing) if (first >= physical && first < physical + count) owners.set(first, path);
}

/** Finds the first byte in which two files differ. Reads only the parts for which one of them has blocks. */
async function firstDifference(
  budget: Budget,
  a: Side,
  b: Side,
): Promise<{ readonly a: string; readonly b: string } | undefined> {
  if (a.node.type !== 'regular' || b.node.type !== 'regular') return undefined;
  const size = Math.min(a.node.sizeBytes, b.node.sizeBytes);
  const places = [...bytesOf(a), ...bytesOf(b)].sort((x, y) => x.from - y.from);
  let done = 0;
  for (const { from, to } of places)
    for (let at = Math.max(done, from); at < Math.min(to, size); at += CHUNK_BYTES) {
      budget.check();
      const length = Math.min(CHUNK_BYTES, to - at, size - at);
      done = at + length;
      const [partA, partB] = [await readContent(a, at, length), await readContent(b, at, length)];
      if (partA.equals(partB)) continue;
      const index = partA.findIndex((byte, place) => byte !== partB[place]);
      const shown = (bytes: Buffer): string =>
        `byte ${at + index} is 0x${(bytes[index] ?? 0).toString(16).padStart(2, '0')}`;
      return { a: shown(partA), b: shown(partB) };
    }
  return undefined;
}

function bytesOf({ volume, extents }: Side): { readonly from: number; readonly to: number }[] {
  const { blockBytes } = volume.superblock;
  return extents.map(({ logical, count }) => ({ from: logical * blockBytes, to: (logical + count) * blockBytes }));
}

/** Reads bytes of a file. Holes, and blocks beyond the end of the disk, are zero. */
async function readContent({ volume, extents }: Side, from: number, length: number): Promise<Buffer> {
  const { blockBytes } = volume.superblock;
  const buffer = Buffer.alloc(length);
  for (const { logical, physical, count } of overlapping(extents, from / blockBytes)) {
    const start = logical * blockBytes;
    if (start >= from + length) break;
    const [first, end] = [Math.max(start, from), Math.min(start + count * blockBytes, from + length)];
    if (first >= end) continue;
    const bytes = await volume.read(physical * blockBytes + first - start, end - first);
    bytes.copy(buffer, first - from);
  }
  return buffer;
}

/** The extents of a file, in order, starting with the one that contains a block, or the first one after it. */
function overlapping(extents: readonly BlockExtent[], block: number): readonly BlockExtent[] {
  let [low, high] = [0, extents.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    const extent = extents[middle];
    if (extent !== undefined && extent.logical + extent.count <= block) low = middle + 1;
    else high = middle;
  }
  return extents.slice(low);
}
