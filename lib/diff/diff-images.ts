import { basename } from 'node:path';
import { z } from 'zod';
import { Ext4Volume } from '../filesystem/ext4/volume.ts';
import type { Extent } from '../formats/extent.ts';
import { readImageIdentity } from '../formats/image-identity.ts';
import type { FoundPartition } from '../formats/partition-table/partition.ts';
import { Budget, DEFAULT_BUDGET_MS } from '../inspect/budget.ts';
import { probe } from '../inspect/filesystems.ts';
import { ContainerDamaged, type ImageReader, openImage } from '../inspect/image-reader.ts';
import { type FoundTable, readPartitionTable } from '../inspect/partition-tables.ts';
import { type DiskImageFacts, inspectDiskImage } from '../programs/disk-image-format.ts';
import { defineStep, type Step } from '../run/define-step.ts';
import type { StepRunner } from '../run/step.ts';
import { path } from '../spec/fields.ts';
import { SECTOR_BYTES } from '../units.ts';
import { differingRuns, inUnits } from './byte-ranges.ts';
import { diffExt4 } from './diff-ext4.ts';
import { diffFat } from './diff-fat.ts';
import { diffLuks } from './diff-luks.ts';
import { compareFields, type Difference, Differences, notCompared } from './difference.ts';

const STEP = 'diffImages';

const schema = z.object({
  /** Two disk images of any format. They are only read. */
  a: path,
  b: path,
  /** Time limit in milliseconds, after which the rest is skipped, with a difference that reports it. Default 60,000. */
  timeoutMs: z.number().int().positive().default(DEFAULT_BUDGET_MS),
});

export interface DiffImagesOptions extends z.input<typeof schema> {}

/** Lists the differences of two disk images: in the container format, the partition table, the space outside
 *  partitions, and in each filesystem by path and field. The list is empty when the disks are equal byte for byte, as a
 *  machine sees them, and the identifiers of the containers are equal. Only ext4 and FAT are compared by path; for
 *  other or damaged filesystems, the sectors that differ are listed. Parts that are skipped because of a limit are
 *  listed as differences.
 *  @throws {InvalidOptionsError} when a file is not a disk image; {ToolFailedError} when a program is killed or exits
 *  with an undocumented status. Runs: blkid, flock, qemu-img. */
export const diffImages: Step<DiffImagesOptions, Difference[]> = defineStep({
  name: STEP,
  options: schema,
  runs: ['blkid', 'flock', 'qemu-img'],
  where: 'host',
  detail: ({ a, b }) => `${a} and ${b}`,
  async run(step, { timeoutMs, ...files }) {
    using budget = new Budget(STEP, step.signal, timeoutMs);
    const facts = {
      a: await inspectDiskImage(files.a, undefined, step.executor, step.signal),
      b: await inspectDiskImage(files.b, undefined, step.executor, step.signal),
    };
    const name = basename(files.a);
    const differences = compareFields('container', name, await container(facts.a), await container(facts.b));
    const found = await budget.part('the disks', [], async () => {
      await using a = await openDisk(step, budget, facts.a);
      await using b = await openDisk(step, budget, facts.b);
      if (a.image !== undefined && b.image !== undefined) return await diffDisks(step, budget, a.image, b.image);
      return [{ where: 'container', what: name, field: 'readable', a: a.readable, b: b.readable }];
    });
    return [...differences, ...found, ...budget.leftOut.map((what) => notCompared('skipped', what))];
  },
});

async function container({ file, format, virtualBytes }: DiskImageFacts): Promise<Record<string, string>> {
  return { format, size: `${virtualBytes}`, ...(await readImageIdentity(file, format)) };
}

interface OpenDisk extends AsyncDisposable {
  /** The disk as a raw file; undefined when its container is damaged. */
  readonly image: ImageReader | undefined;
  /** "yes", or "no" with the problem. */
  readonly readable: string;
}

async function openDisk(step: StepRunner, budget: Budget, facts: DiskImageFacts): Promise<OpenDisk> {
  const own = await openImage(step, budget, facts);
  if (facts.format === 'raw')
    return { image: own, readable: 'yes', [Symbol.asyncDispose]: () => own[Symbol.asyncDispose]() };
  try {
    const file = await own.asFile(0, facts.virtualBytes);
    const image = await openImage(step, budget, { ...facts, file, format: 'raw', isDevice: false });
    return {
      image,
      readable: 'yes',
      async [Symbol.asyncDispose]() {
        await image[Symbol.asyncDispose]();
        await own[Symbol.asyncDispose]();
      },
    };
  } catch (error) {
    await own[Symbol.asyncDispose]();
    if (!(error instanceof ContainerDamaged)) throw error;
    return { image: undefined, readable: `no: ${error.message}`, [Symbol.asyncDispose]: async () => {} };
  }
}

async function diffDisks(step: StepRunner, budget: Budget, a: ImageReader, b: ImageReader): Promise<Difference[]> {
  const size = Math.max(a.virtualBytes, b.virtualBytes);
  const [tableA, tableB] = [await readPartitionTable(a, budget), await readPartitionTable(b, budget)];
  const [partsA, partsB] = [byNumber(tableA), byNumber(tableB)];
  const differences = compareFields('partition table', 'header', header(tableA), header(tableB));
  const numbers = [...new Set([...partsA.keys(), ...partsB.keys()])].sort((x, y) => x - y);
  const parts: { readonly number: number; readonly a: Extent; readonly b: Extent }[] = [];
  for (const number of numbers) {
    const [partA, partB] = [partsA.get(number), partsB.get(number)];
    differences.push(
      ...compareFields(
        'partition table',
        `partition ${number}`,
        partA ? fields(partA) : {},
        partB ? fields(partB) : {},
      ),
    );
    if (partA !== undefined && partB !== undefined && partA.purpose !== 'extended')
      parts.push({ number, a: within(partA, size), b: within(partB, size) });
  }
  const whole = { offsetBytes: 0, sizeBytes: size };
  if (numbers.length === 0) parts.push({ number: 0, a: whole, b: whole });
  for (const part of parts)
    differences.push(...(await budget.part(placeName(part.number), [], () => diffPartition(step, budget, part, a, b))));
  const outside = new Differences(OUTSIDE);
  await budget.part(OUTSIDE, undefined, async () => {
    for (const gap of gapsBetween(
      parts.map((part) => part.a),
      size,
    ))
      for (const run of await differingRuns(budget, a.read, b.read, gap, SECTOR_BYTES)) {
        const from = gap.offsetBytes / SECTOR_BYTES + run.first;
        outside.add(...outsideAreas(from, from + run.count - 1, tableA, size / SECTOR_BYTES));
      }
  });
  return [...differences, ...outside.all];
}

const OUTSIDE = 'outside of partitions';

function placeName(number: number): string {
  return number === 0 ? 'the whole disk' : `partition ${number}`;
}

/** The part of a partition that is inside the disk. */
function within({ offsetBytes, sizeBytes }: Extent, diskBytes: number): Extent {
  const start = Math.min(offsetBytes, diskBytes);
  return { offsetBytes: start, sizeBytes: Math.max(0, Math.min(sizeBytes, diskBytes - start)) };
}

/** The size of a GPT's entries, which follow its header. */
const GPT_ENTRIES_BYTES = 128 * 128;

/** Reports 512-byte sectors that differ outside partitions, by the area in which they are. */
function outsideAreas(first: number, last: number, { table, sectorBytes }: FoundTable, sectors: number): Difference[] {
  const isGpt = table === 'gpt';
  const perSector = sectorBytes / SECTOR_BYTES;
  const gptSectors = perSector + GPT_ENTRIES_BYTES / SECTOR_BYTES;
  const afterGpt = isGpt ? perSector + gptSectors : 1;
  const areas = [
    { what: 'boot sector', from: 0, to: 0 },
    ...(isGpt ? [{ what: 'GPT', from: 1, to: afterGpt - 1 }] : []),
    { what: 'space between partitions', from: afterGpt, to: sectors - 1 - (isGpt ? gptSectors : 0) },
    ...(isGpt ? [{ what: 'backup GPT', from: sectors - gptSectors, to: sectors - 1 }] : []),
  ];
  return areas.flatMap(({ what, from, to }) => {
    const [start, end] = [Math.max(first, from), Math.min(last, to)];
    if (start > end) return [];
    const field = start === end ? `sector ${start}` : `sectors ${start} to ${end}`;
    return [{ where: OUTSIDE, what, field, a: 'other bytes', b: 'other bytes' }];
  });
}

function byNumber({ partitions }: FoundTable): Map<number, FoundPartition> {
  return new Map(partitions.map((part) => [part.number, part]));
}

function header({ table, diskId, sectorBytes, usable }: FoundTable): Record<string, string> {
  if (table === 'none') return {};
  return {
    label: table === 'msdos' ? 'dos' : table,
    ...(diskId === undefined ? {} : { id: diskId }),
    sectorsize: `${sectorBytes}`,
    ...(usable === undefined ? {} : { firstlba: `${usable.first}`, lastlba: `${usable.last}` }),
  };
}

function fields(part: FoundPartition): Record<string, string> {
  return {
    start: `${part.startSectors}`,
    size: `${part.sizeSectors}`,
    type: part.type,
    uuid: part.partitionUuid,
    name: part.name,
    attrs: part.attributes.join(' '),
  };
}

/** The usual block size. */
const EXT4_BLOCK_BYTES = 4096;

async function diffPartition(
  step: StepRunner,
  budget: Budget,
  part: { readonly number: number; readonly a: Extent; readonly b: Extent },
  a: ImageReader,
  b: ImageReader,
): Promise<Difference[]> {
  const samePlace = part.a.offsetBytes === part.b.offsetBytes && part.a.sizeBytes === part.b.sizeBytes;
  const sectors = samePlace ? await differingRuns(budget, a.read, b.read, part.a, SECTOR_BYTES) : undefined;
  // Equal partitions need no blkid.
  if (sectors?.length === 0) return [];
  const [probeA, probeB] = [await probeAt(step, budget, a, part.a), await probeAt(step, budget, b, part.b)];
  const name = [probeA.TYPE, probeA.LABEL].filter((text) => text !== undefined).join(' ');
  const where = `${placeName(part.number)}${name === '' ? '' : ` (${name})`}`;
  const unitBytes = probeA.TYPE === 'ext4' ? EXT4_BLOCK_BYTES : SECTOR_BYTES;
  const runs = sectors === undefined ? undefined : inUnits(sectors, unitBytes / SECTOR_BYTES);
  const side = (image: ImageReader, extent: Extent) => ({ read: image.read, extent });
  let inside: Difference[] | undefined;
  if (probeA.TYPE === 'ext4' && probeB.TYPE === 'ext4') {
    const [volumeA, volumeB] = [
      await Ext4Volume.open(await a.part(part.a.offsetBytes, part.a.sizeBytes)),
      await Ext4Volume.open(await b.part(part.b.offsetBytes, part.b.sizeBytes)),
    ];
    if (typeof volumeA !== 'string' && typeof volumeB !== 'string')
      inside = await diffExt4(budget, where, volumeA, volumeB, runs && { blockBytes: unitBytes, found: runs });
  } else if (probeA.TYPE === 'vfat' && probeB.TYPE === 'vfat')
    inside = await diffFat(budget, where, side(a, part.a), side(b, part.b), runs ?? []);
  else if (probeA.TYPE === 'crypto_LUKS' && probeB.TYPE === 'crypto_LUKS')
    inside = await diffLuks(where, { image: a, extent: part.a }, { image: b, extent: part.b }, runs);
  if (inside !== undefined) return inside;
  const found = new Differences(where);
  found.add(
    ...compareFields(where, 'filesystem', probeA, probeB),
    ...(runs ?? []).map(({ first, count }) => ({
      where,
      what: 'content',
      field: count === 1 ? `sector ${first}` : `sectors ${first} to ${first + count - 1}`,
      a: 'other bytes',
      b: 'other bytes',
    })),
  );
  return found.all;
}

async function probeAt(
  step: StepRunner,
  budget: Budget,
  image: ImageReader,
  extent: Extent,
): Promise<Record<string, string>> {
  const there = within(extent, image.virtualBytes);
  return there.sizeBytes < SECTOR_BYTES ? {} : probe(step, budget, image, there);
}

function gapsBetween(extents: readonly Extent[], size: number): Extent[] {
  const gaps: Extent[] = [];
  let at = 0;
  for (const { offsetBytes, sizeBytes } of [...extents].sort((x, y) => x.offsetBytes - y.offsetBytes)) {
    if (offsetBytes > at) gaps.push({ offsetBytes: at, sizeBytes: offsetBytes - at });
    at = Math.max(at, offsetBytes + sizeBytes);
  }
  if (at < size) gaps.push({ offsetBytes: at, sizeBytes: size - at });
  return gaps;
}
