import { type FatNode, FatVolume } from '../filesystem/fat-volume.ts';
import type { Extent, ReadBytes } from '../formats/extent.ts';
import type { Budget } from '../inspect/budget.ts';
import { MIB } from '../units.ts';
import type { Run } from './byte-ranges.ts';
import { diffPrograms } from './diff-program.ts';
import { compareFields, type Difference, Differences, notCompared } from './difference.ts';

/** The limit of files and directories in each filesystem. */
const MOST_NODES = 50_000;
const CHUNK_BYTES = MIB;

/** One side of a comparison of FATs. */
export interface FatSide {
  readonly read: ReadBytes;
  readonly extent: Extent;
}

/** Compares two FATs: the boot sectors, then each path.
 *  @returns undefined when one is too damaged to be read. */
export async function diffFat(
  budget: Budget,
  where: string,
  a: FatSide,
  b: FatSide,
  runs: readonly Run[],
): Promise<Difference[] | undefined> {
  const [volumeA, volumeB] = [await open(a), await open(b)];
  if (volumeA === undefined || volumeB === undefined) return undefined;
  const found = new Differences(where);
  found.add(...compareFields(where, 'boot sector', await facts(volumeA), await facts(volumeB)));
  const [treeA, treeB] = [await volumeA.tree(MOST_NODES), await volumeB.tree(MOST_NODES)];
  const [nodesA, nodesB] = [byPath(treeA.nodes), byPath(treeB.nodes)];
  found.add(...compareFields(where, 'directories', damage(treeA.damage), damage(treeB.damage)));
  for (const path of [...new Set([...nodesA.keys(), ...nodesB.keys()])].sort()) {
    budget.check();
    const [nodeA, nodeB] = [nodesA.get(path), nodesB.get(path)];
    const what = `/${path}`;
    if (nodeA === undefined || nodeB === undefined) {
      found.add({ where, what, a: nodeA && describe(nodeA), b: nodeB && describe(nodeB) });
      continue;
    }
    const fields = compareFields(where, what, fieldsOf(nodeA), fieldsOf(nodeB));
    const first =
      nodeA.type === 'file' && nodeB.type === 'file'
        ? await firstDifference(budget, volumeA, nodeA, volumeB, nodeB)
        : undefined;
    const program =
      first === undefined
        ? undefined
        : await diffPrograms(budget, programOf(volumeA, nodeA), programOf(volumeB, nodeB));
    // The size and the bytes of a program differ with its signature.
    if (program?.isSameProgram === true) found.add(...fields.filter(({ field }) => field !== 'size'));
    else {
      found.add(...fields);
      if (first !== undefined) found.add({ where, what, field: 'content', ...first });
    }
    if (program !== undefined && (program.isSameProgram || program.a !== program.b))
      found.add({ where, what, field: 'signature', a: program.a, b: program.b });
  }
  if (treeA.isCut || treeB.isCut) found.add(notCompared(where, `paths beyond the first ${MOST_NODES}`));
  if (found.length === 0)
    found.add(
      ...runs.map(({ first, count }) => ({
        where,
        what: 'directories, allocation table or unused space',
        field: `sector ${first}${count === 1 ? '' : ` to ${first + count - 1}`}`,
        a: 'other bytes',
        b: 'other bytes',
      })),
    );
  return found.all;
}

function programOf(volume: FatVolume, node: FatNode): { readonly read: ReadBytes; readonly sizeBytes: number } {
  return { read: (at, bytes) => volume.readFile(node, at, bytes), sizeBytes: node.sizeBytes };
}

function open({ read, extent }: FatSide): Promise<FatVolume | undefined> {
  return FatVolume.open((at, bytes) =>
    read(extent.offsetBytes + at, Math.max(0, Math.min(bytes, extent.sizeBytes - at))),
  );
}

async function facts(volume: FatVolume): Promise<Record<string, string>> {
  const { bits, volumeId, label, clusterBytes, sizeBytes } = volume.layout;
  const freeBytes = await volume.freeBytes();
  const all = { bits, volumeId, label, clusterBytes, sizeBytes, freeBytes };
  return Object.fromEntries(Object.entries(all).map(([name, value]) => [name, `${value}`]));
}

function damage(sentences: readonly string[]): Record<string, string> {
  return sentences.length === 0 ? {} : { damage: sentences.join('; ') };
}

function byPath(nodes: readonly FatNode[]): Map<string, FatNode> {
  return new Map(nodes.map((node) => [node.path, node]));
}

function fieldsOf({ type, sizeBytes, modified, attributes }: FatNode): Record<string, string> {
  if (type !== 'file') return { type };
  return { type, size: `${sizeBytes}`, mtime: modified, attributes: `0x${attributes.toString(16).padStart(2, '0')}` };
}

function describe({ type, sizeBytes }: FatNode): string {
  return type === 'file' ? `${type}, ${sizeBytes} bytes` : type;
}

/** Finds the first byte in which two files differ. A file ends where its cluster chain ends. */
async function firstDifference(
  budget: Budget,
  volumeA: FatVolume,
  nodeA: FatNode,
  volumeB: FatVolume,
  nodeB: FatNode,
): Promise<{ readonly a: string; readonly b: string } | undefined> {
  const size = Math.max(nodeA.sizeBytes, nodeB.sizeBytes);
  for (let at = 0; at < size; at += CHUNK_BYTES) {
    budget.check();
    const [partA, partB] = [
      await volumeA.readFile(nodeA, at, CHUNK_BYTES),
      await volumeB.readFile(nodeB, at, CHUNK_BYTES),
    ];
    if (partA.length === 0 && partB.length === 0) return undefined;
    if (partA.equals(partB)) continue;
    const length = Math.max(partA.length, partB.length);
    for (let index = 0; index < length; index += 1) {
      if (partA[index] === partB[index]) continue;
      const shown = (byte: number | undefined): string =>
        `byte ${at + index} is ${byte === undefined ? 'past the end' : `0x${byte.toString(16).padStart(2, '0')}`}`;
      return { a: shown(partA[index]), b: shown(partB[index]) };
    }
  }
  return undefined;
}
