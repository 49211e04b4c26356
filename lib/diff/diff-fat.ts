import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type FatLocation, mtoolsEnvironment, mtoolsImage, readFat } from '../filesystem/fat.ts';
import { listTree, type TreeEntry } from '../filesystem/tree.ts';
import type { StepRunner } from '../step.ts';
import type { Run } from './byte-ranges.ts';
import { compareFields, type Difference } from './difference.ts';

/** Compares two FATs: boot sector, then path by path. What a FAT holds is small: it is taken out and looked at.
 *  Runs: mcopy, find. */
export async function diffFat(
  step: StepRunner,
  where: string,
  a: FatLocation,
  b: FatLocation,
  runs: readonly Run[],
  work: string,
): Promise<Difference[]> {
  const [treeA, treeB] = [await takeOut(step, a, join(work, 'a')), await takeOut(step, b, join(work, 'b'))];
  const differences = compareFields(where, 'boot sector', await facts(step, a), await facts(step, b));
  for (const path of [...new Set([...treeA.keys(), ...treeB.keys()])].sort()) {
    const [entryA, entryB] = [treeA.get(path), treeB.get(path)];
    const what = `/${path}`;
    if (entryA === undefined || entryB === undefined) {
      differences.push({ where, what, a: entryA && describe(entryA), b: entryB && describe(entryB) });
      continue;
    }
    differences.push(...compareFields(where, what, fieldsOf(entryA), fieldsOf(entryB)));
    if (entryA.type !== 'file' || entryB.type !== 'file') continue;
    const [bytesA, bytesB] = [await readFile(entryA.source), await readFile(entryB.source)];
    if (bytesA.equals(bytesB)) continue;
    const at = bytesA.findIndex((byte, index) => byte !== bytesB[index]);
    if (at < 0) continue;
    const shown = (bytes: Buffer): string =>
      `byte ${at} is ${bytes[at] === undefined ? 'past the end' : `0x${bytes[at].toString(16).padStart(2, '0')}`}`;
    differences.push({ where, what, field: 'content', a: shown(bytesA), b: shown(bytesB) });
  }
  if (differences.length > 0) return differences;
  return runs.map(({ first, count }) => ({
    where,
    what: 'folders, allocation table or unused space',
    field: `sector ${first}${count === 1 ? '' : ` to ${first + count - 1}`}`,
    a: 'other bytes',
    b: 'other bytes',
  }));
}

async function facts(step: StepRunner, location: FatLocation): Promise<Record<string, string>> {
  const fat = await readFat(step.step, location);
  return Object.fromEntries(Object.entries(fat).map(([name, value]) => [name, `${value}`]));
}

async function takeOut(step: StepRunner, location: FatLocation, folder: string): Promise<Map<string, TreeEntry>> {
  await mkdir(folder, { recursive: true });
  // It fails on an empty one.
  await step.tryRun(['mcopy', '-s', '-n', '-m', '-i', mtoolsImage(location), '::/*', folder], {
    env: mtoolsEnvironment(undefined),
  });
  const tree = await listTree(step, { root: folder });
  return new Map(tree.filter(({ path }) => path !== '').map((entry) => [entry.path, entry]));
}

function fieldsOf({ type, sizeBytes, mtime }: TreeEntry): Record<string, string> {
  if (type !== 'file') return { type };
  return { type, size: `${sizeBytes}`, mtime: new Date(mtime * 1000).toISOString() };
}

function describe({ type, sizeBytes }: TreeEntry): string {
  return type === 'file' ? `${type}, ${sizeBytes} bytes` : type;
}
