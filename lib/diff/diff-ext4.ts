import type { FileHandle } from 'node:fs/promises';
import { type Ext4Location, type Ext4Node, readExt4Fields, readExt4Nodes } from '../filesystem/ext4.ts';
import type { StepRunner } from '../step.ts';
import type { Extent, Run } from './byte-ranges.ts';
import { compareFields, type Difference } from './difference.ts';

/** One side of a comparison of ext4 filesystems. */
export interface Ext4Side {
  readonly location: Ext4Location;
  readonly file: FileHandle;
  readonly extent: Extent;
}

const BLOCK_BYTES = 4096;

/** Compares two ext4 filesystems: superblock, then path by path attributes and contents, wherever each has them; at last
 *  what of the differing blocks that does not explain. Runs: debugfs. */
export async function diffExt4(
  step: StepRunner,
  where: string,
  a: Ext4Side,
  b: Ext4Side,
  runs: readonly Run[],
): Promise<Difference[]> {
  const [fieldsA, fieldsB] = [await readExt4Fields(step, a.location), await readExt4Fields(step, b.location)];
  const differences = compareFields(where, 'superblock', fieldsA, fieldsB);
  const blockBytes = Number(fieldsA['Block size'] ?? BLOCK_BYTES);
  const [nodesA, nodesB] = [await readExt4Nodes(step, a.location), await readExt4Nodes(step, b.location)];
  for (const path of [...new Set([...nodesA.keys(), ...nodesB.keys()])].sort()) {
    const [nodeA, nodeB] = [nodesA.get(path), nodesB.get(path)];
    const what = `/${path}`;
    if (nodeA === undefined || nodeB === undefined) {
      differences.push({ where, what, a: nodeA && describe(nodeA), b: nodeB && describe(nodeB) });
      continue;
    }
    differences.push(...compareFields(where, what, nodeA.fields, nodeB.fields));
    const first = await firstDifference(a, nodeA, b, nodeB, blockBytes);
    if (first !== undefined)
      differences.push({
        where,
        what,
        field: 'content',
        a: `byte ${first} is ${await byteAt(a, nodeA, first, blockBytes)}`,
        b: `byte ${first} is ${await byteAt(b, nodeB, first, blockBytes)}`,
      });
  }
  if (differences.length > 0 || runs.length === 0) return differences;
  // Bytes differ that no path and no field shows: unused space, a journal, the order inside a folder.
  const owner = new Map<number, string>();
  for (const [path, node] of nodesA)
    for (const { physical, count } of node.extents)
      for (let block = 0; block < count; block += 1) owner.set(physical + block, `/${path}`);
  for (const { first, count } of runs)
    differences.push({
      where,
      what: owner.get(first) ?? 'filesystem structures or unused space',
      field: `block ${first}${count === 1 ? '' : ` to ${first + count - 1}`}`,
      a: 'other bytes',
      b: 'other bytes',
    });
  return differences;
}

function describe(node: Ext4Node): string {
  return `${node.fields.type}, mode ${node.fields.mode}, ${node.fields.size} bytes`;
}

/** The block of the image that holds a block of a file; undefined for a hole. */
function physicalBlock(node: Ext4Node, logical: number): number | undefined {
  const extent = node.extents.find(({ logical: start, count }) => logical >= start && logical < start + count);
  return extent === undefined ? undefined : extent.physical + logical - extent.logical;
}

async function readBlock(side: Ext4Side, node: Ext4Node, logical: number, blockBytes: number): Promise<Buffer> {
  const buffer = Buffer.alloc(blockBytes);
  const block = physicalBlock(node, logical);
  if (block !== undefined) await side.file.read(buffer, 0, blockBytes, side.extent.offsetBytes + block * blockBytes);
  return buffer;
}

/** The first byte in which two files differ. Only what either has blocks for is read. */
async function firstDifference(
  a: Ext4Side,
  nodeA: Ext4Node,
  b: Ext4Side,
  nodeB: Ext4Node,
  blockBytes: number,
): Promise<number | undefined> {
  if (nodeA.fields.type !== 'regular' || nodeB.fields.type !== 'regular') return undefined;
  const size = Math.min(Number(nodeA.fields.size), Number(nodeB.fields.size));
  const blocks = new Set<number>();
  for (const { logical, count } of [...nodeA.extents, ...nodeB.extents])
    for (let block = logical; block < logical + count; block += 1) if (block * blockBytes < size) blocks.add(block);
  for (const block of [...blocks].sort((x, y) => x - y)) {
    const [partA, partB] = [await readBlock(a, nodeA, block, blockBytes), await readBlock(b, nodeB, block, blockBytes)];
    if (partA.equals(partB)) continue;
    const at = partA.findIndex((byte, index) => byte !== partB[index]);
    if (block * blockBytes + at < size) return block * blockBytes + at;
  }
  return undefined;
}

async function byteAt(side: Ext4Side, node: Ext4Node, at: number, blockBytes: number): Promise<string> {
  const block = await readBlock(side, node, Math.floor(at / blockBytes), blockBytes);
  return `0x${(block[at % blockBytes] ?? 0).toString(16).padStart(2, '0')}`;
}
