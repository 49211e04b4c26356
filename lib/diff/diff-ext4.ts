import { type Ext4Node, parseListing, parseStat } from '../filesystem/ext4/debugfs.ts';
import type { Extent } from '../formats/extent.ts';
import type { Budget } from '../inspect/budget.ts';
import { askDebugfs } from '../inspect/debugfs.ts';
import type { RawPlace } from '../inspect/image-reader.ts';
import type { StepRunner } from '../run/step.ts';
import type { ReadDisk, Run } from './byte-ranges.ts';
import { compareFields, type Difference, Differences, notCompared } from './difference.ts';

/** One side of a comparison of ext4 filesystems. */
export interface Ext4Side {
  readonly place: RawPlace;
  readonly read: ReadDisk;
  readonly extent: Extent;
}

/** Paths of each that are compared. */
const MOST_PATHS = 300_000;
/** Questions that debugfs is asked at once. */
const BATCH = 500;
const DEEPEST = 200;
const CHUNK_BLOCKS = 256;

/** Compares two ext4 filesystems: superblock, then path by path attributes and contents, wherever each has them; at last
 *  what of the differing blocks that does not explain.
 *  @param runs blocks that differ; undefined when the two are not in the same place.
 *  @returns undefined when debugfs does not open one, which is then damaged. Runs: debugfs. */
export async function diffExt4(
  step: StepRunner,
  budget: Budget,
  where: string,
  a: Ext4Side,
  b: Ext4Side,
  runs: { readonly blockBytes: number; readonly found: readonly Run[] } | undefined,
): Promise<Difference[] | undefined> {
  const [fieldsA, fieldsB] = [await readFields(step, budget, a), await readFields(step, budget, b)];
  if (fieldsA === undefined || fieldsB === undefined) return undefined;
  const found = new Differences(where);
  found.add(...compareFields(where, 'superblock', fieldsA, fieldsB));
  const [blocksA, blocksB] = [blockBytesOf(fieldsA), blockBytesOf(fieldsB)];
  const [treeA, treeB] = [await listTree(step, budget, a), await listTree(step, budget, b)];
  for (const [tree, side] of [[treeA, 'a'] as const, [treeB, 'b'] as const])
    for (const left of tree.leftOut) found.add(notCompared(where, `${side}: ${left}`));
  const differing = runs?.blockBytes === blocksA ? runs.found : undefined;
  const owners = new Map<number, string>();
  const paths = [...new Set([...treeA.inodes.keys(), ...treeB.inodes.keys()])].sort();
  for (let at = 0; at < paths.length; at += BATCH) {
    const batch = paths.slice(at, at + BATCH);
    const [nodesA, nodesB] = [
      await readNodes(step, budget, a, treeA.inodes, batch),
      await readNodes(step, budget, b, treeB.inodes, batch),
    ];
    for (const path of batch) {
      budget.check();
      const [nodeA, nodeB] = [nodesA.get(path), nodesB.get(path)];
      const what = `/${path}`;
      if (nodeA === undefined || nodeB === undefined) {
        if (nodeA !== undefined || nodeB !== undefined)
          found.add({ where, what, a: nodeA && describe(nodeA), b: nodeB && describe(nodeB) });
        continue;
      }
      found.add(...compareFields(where, what, nodeA.fields, nodeB.fields));
      ownersOf(nodeA, what, differing ?? [], owners);
      if (differing !== undefined && blocksA === blocksB && areSame(nodeA, nodeB, differing)) continue;
      const first = await firstDifference(
        budget,
        { side: a, node: nodeA, blockBytes: blocksA },
        { side: b, node: nodeB, blockBytes: blocksB },
      );
      if (first !== undefined) found.add({ where, what, field: 'content', ...first });
    }
  }
  // Bytes differ that no path and no field shows: unused space, a journal, the order inside a directory.
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

/** Every field of the superblock, by debugfs's name of it; undefined when it does not open it. */
async function readFields(
  step: StepRunner,
  budget: Budget,
  { place }: Ext4Side,
): Promise<Record<string, string> | undefined> {
  const { refused, answers } = await askDebugfs(step, budget, place, ['show_super_stats -h']);
  if (refused !== undefined) return undefined;
  return Object.fromEntries(
    [...(answers[0] ?? '').matchAll(/^([^:\n]+):\s+(.*)$/gm)].map(([, name = '', value = '']) => [name, value.trim()]),
  );
}

function blockBytesOf(fields: Readonly<Record<string, string>>): number {
  const value = Number(fields['Block size']);
  return value >= 1024 && value <= 65_536 ? value : 4096;
}

interface Tree {
  /** Inodes by path, the root under ''. */
  readonly inodes: ReadonlyMap<string, number>;
  readonly leftOut: readonly string[];
}

/** Every path, level by level. A directory that was met before is not entered again. */
async function listTree(step: StepRunner, budget: Budget, { place }: Ext4Side): Promise<Tree> {
  const inodes = new Map([['', 2]]);
  const leftOut: string[] = [];
  const entered = new Set([2]);
  let level: { readonly inode: number; readonly prefix: string }[] = [{ inode: 2, prefix: '' }];
  for (let depth = 0; level.length > 0; depth += 1) {
    const next: typeof level = [];
    for (let at = 0; at < level.length; at += BATCH) {
      const batch = level.slice(at, at + BATCH);
      const { answers, isCut } = await askDebugfs(
        step,
        budget,
        place,
        batch.map(({ inode }) => `ls -p <${inode}>`),
      );
      if (isCut) leftOut.push('directories that are too large');
      for (const [index, listing] of answers.entries())
        for (const entry of parseListing(listing)) {
          if (inodes.size >= MOST_PATHS)
            return { inodes, leftOut: [...leftOut, `paths behind the first ${MOST_PATHS}`] };
          const path = `${batch[index]?.prefix ?? ''}${entry.path}`;
          inodes.set(path, entry.inode);
          if ((entry.mode & 0o170000) !== 0o040000 || entered.has(entry.inode)) continue;
          entered.add(entry.inode);
          next.push({ inode: entry.inode, prefix: `${path}/` });
        }
    }
    if (depth >= DEEPEST) return { inodes, leftOut: [...leftOut, `directories below ${DEEPEST} others`] };
    level = next;
  }
  return { inodes, leftOut };
}

async function readNodes(
  step: StepRunner,
  budget: Budget,
  { place }: Ext4Side,
  inodes: ReadonlyMap<string, number>,
  paths: readonly string[],
): Promise<Map<string, Ext4Node>> {
  const there = paths.filter((path) => inodes.has(path));
  const wanted = [...new Set(there.map((path) => inodes.get(path)))];
  if (wanted.length === 0) return new Map();
  const { answers } = await askDebugfs(
    step,
    budget,
    place,
    wanted.map((inode) => `stat <${inode}>`),
  );
  const nodes = new Map(
    wanted.map((inode, index) => {
      const { fields, extents } = parseStat(answers[index] ?? '');
      return [inode, { fields, extents: extents.filter(isSafe).sort((x, y) => x.logical - y.logical) }] as const;
    }),
  );
  return new Map(
    there.flatMap((path) => {
      const node = nodes.get(inodes.get(path));
      return node === undefined ? [] : [[path, node] as const];
    }),
  );
}

type BlockExtent = Ext4Node['extents'][number];

/** Of a block-mapped file, debugfs may say anything that its blocks do. */
function isSafe({ logical, physical, count }: BlockExtent): boolean {
  return count > 0 && [logical, physical, count].every((value) => value < 2 ** 48);
}

function describe(node: Ext4Node): string {
  return `${node.fields.type}, mode ${node.fields.mode}, ${node.fields.size} bytes`;
}

/** Whether two files have the same blocks of the disk, and none of them differs: they need not be read again. */
function areSame(a: Ext4Node, b: Ext4Node, differing: readonly Run[]): boolean {
  if (a.fields.size !== b.fields.size || a.extents.length !== b.extents.length) return false;
  return a.extents.every((extent, index) => {
    const other = b.extents[index];
    const isEqual =
      other?.logical === extent.logical && other.physical === extent.physical && other.count === extent.count;
    return isEqual && firstRunBehind(differing, extent.physical) >= extent.physical + extent.count;
  });
}

/** Where the first run that ends behind a block begins; a run that has the block counts as beginning there. */
function firstRunBehind(runs: readonly Run[], block: number): number {
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

/** Whose blocks begin runs of blocks that differ: for each extent, those runs that begin in it, or in which it begins. */
function ownersOf(node: Ext4Node, path: string, differing: readonly Run[], owners: Map<number, string>): void {
  if (differing.length === 0) return;
  for (const { physical, count } of node.extents)
    for (const { first } of differing) if (first >= physical && first < physical + count) owners.set(first, path);
}

interface Content {
  readonly side: Ext4Side;
  readonly node: Ext4Node;
  readonly blockBytes: number;
}

/** The first byte in which two files differ, as each has it. Only what either has blocks for is read. */
async function firstDifference(
  budget: Budget,
  a: Content,
  b: Content,
): Promise<{ readonly a: string; readonly b: string } | undefined> {
  if (a.node.fields.type !== 'regular' || b.node.fields.type !== 'regular') return undefined;
  const size = Math.min(Number(a.node.fields.size), Number(b.node.fields.size));
  const places = [...a.node.extents.map(bytesOf(a)), ...b.node.extents.map(bytesOf(b))].sort((x, y) => x.from - y.from);
  const chunkBytes = CHUNK_BLOCKS * 4096;
  let done = 0;
  for (const { from, to } of places)
    for (let at = Math.max(done, from); at < Math.min(to, size); at += chunkBytes) {
      budget.check();
      const length = Math.min(chunkBytes, to - at, size - at);
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

function bytesOf({ blockBytes }: Content): (extent: BlockExtent) => { readonly from: number; readonly to: number } {
  return ({ logical, count }) => ({ from: logical * blockBytes, to: (logical + count) * blockBytes });
}

/** Bytes of a file; holes, and what is behind the disk's end, are zeros. */
async function readContent({ side, node, blockBytes }: Content, from: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  for (const { logical, physical, count } of overlapping(node.extents, from / blockBytes)) {
    const start = logical * blockBytes;
    if (start >= from + length) break;
    const [first, end] = [Math.max(start, from), Math.min(start + count * blockBytes, from + length)];
    if (first >= end) continue;
    const at = physical * blockBytes + first - start;
    const bytes = await side.read(side.extent.offsetBytes + at, end - first);
    bytes.copy(buffer, first - from);
  }
  return buffer;
}

/** The extents of a file from the one on that has a block, or is the first behind it. They are in order. */
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
