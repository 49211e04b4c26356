import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { z } from 'zod';
import { inspectDiskImage } from '../disk-image-format.ts';
import { ext4Location } from '../filesystem/ext4.ts';
import { readImageIdentity } from '../image-identity.ts';
import { makePrivateFolder } from '../private-output.ts';
import { path } from '../spec/fields.ts';
import { parseOptions } from '../spec/parse-options.ts';
import { runStep, type StepContext, type StepRunner } from '../step.ts';
import { SECTOR_BYTES, sectorsToBytes } from '../units.ts';
import { differingRuns, type Extent } from './byte-ranges.ts';
import { diffExt4 } from './diff-ext4.ts';
import { diffFat } from './diff-fat.ts';
import { compareFields, type Difference } from './difference.ts';

const STEP = 'diffImages';

const schema = z.object({ a: path, b: path });

export interface DiffImagesOptions {
  /** Two disk images: raw, qcow2, vdi or vpc. They are only read. */
  readonly a: string;
  readonly b: string;
}

/** Says where two disk images differ: container, partition table, space outside of partitions, and in each filesystem by
 *  path and field. None when they are the same, byte for byte as a machine sees them, and in the identifiers of their
 *  container. ext4 and FAT are read into; of others the differing places are told.
 *  @throws {InvalidOptionsError}, {ToolFailedError} for what is no image. Runs: qemu-img, sfdisk, blkid, and what
 *  reads the filesystems: debugfs, mcopy, find. */
export async function diffImages(options: DiffImagesOptions, context?: StepContext): Promise<Difference[]> {
  const parsed = parseOptions(STEP, schema, options);
  return runStep(STEP, context, `${parsed.a} and ${parsed.b}`, async (step) => {
    await using work = await makePrivateFolder(tmpdir());
    const a = await openDisk(step, resolve(parsed.a), join(work.path, 'a.img'));
    const b = await openDisk(step, resolve(parsed.b), join(work.path, 'b.img'));
    await using fileA = await open(a.raw, 'r');
    await using fileB = await open(b.raw, 'r');
    const size = Math.max(a.sizeBytes, b.sizeBytes);
    const differences = compareFields('container', basename(parsed.a), a.container, b.container);
    const [tableA, tableB] = [await readTable(step, a.raw), await readTable(step, b.raw)];
    differences.push(...compareFields('partition table', 'header', tableA.header, tableB.header));
    const numbers = [...new Set([...tableA.partitions.keys(), ...tableB.partitions.keys()])].sort((x, y) => x - y);
    for (const number of numbers)
      differences.push(
        ...compareFields(
          'partition table',
          `partition ${number}`,
          tableA.partitions.get(number)?.fields ?? {},
          tableB.partitions.get(number)?.fields ?? {},
        ),
      );

    const parts = numbers.flatMap((number) => {
      const [partA, partB] = [tableA.partitions.get(number), tableB.partitions.get(number)];
      return partA === undefined || partB === undefined ? [] : [{ number, a: partA.extent, b: partB.extent }];
    });
    if (numbers.length === 0) {
      const whole = { offsetBytes: 0, sizeBytes: size };
      parts.push({ number: 0, a: whole, b: whole });
    }
    for (const part of parts)
      differences.push(...(await diffPartition(step, part, { ...a, file: fileA }, { ...b, file: fileB }, work.path)));
    for (const gap of gapsBetween(
      parts.map((part) => part.a),
      size,
    ))
      for (const run of await differingRuns(fileA, fileB, gap, SECTOR_BYTES)) {
        const from = gap.offsetBytes / SECTOR_BYTES + run.first;
        differences.push(...outside(from, from + run.count - 1, tableA.header.label === 'gpt', size / SECTOR_BYTES));
      }
    return differences;
  });
}

/** A GPT's header and entries: 33 sectors behind the boot sector, and again at the end. */
const GPT_SECTORS = 33;

/** Sectors that differ outside of partitions, by what is there. */
function outside(first: number, last: number, gpt: boolean, sectors: number): Difference[] {
  const areas = [
    { what: 'boot sector', from: 0, to: 0 },
    ...(gpt ? [{ what: 'GPT', from: 1, to: GPT_SECTORS }] : []),
    { what: 'space between partitions', from: gpt ? GPT_SECTORS + 1 : 1, to: sectors - 1 - (gpt ? GPT_SECTORS : 0) },
    ...(gpt ? [{ what: 'backup GPT', from: sectors - GPT_SECTORS, to: sectors - 1 }] : []),
  ];
  return areas.flatMap(({ what, from, to }) => {
    const [start, end] = [Math.max(first, from), Math.min(last, to)];
    if (start > end) return [];
    const field = start === end ? `sector ${start}` : `sectors ${start} to ${end}`;
    return [{ where: 'outside of partitions', what, field, a: 'other bytes', b: 'other bytes' }];
  });
}

interface Disk {
  readonly raw: string;
  readonly sizeBytes: number;
  readonly container: Readonly<Record<string, string>>;
}

/** The disk as a machine sees it, as a raw file. */
async function openDisk(step: StepRunner, image: string, work: string): Promise<Disk> {
  const { format, virtualBytes } = await inspectDiskImage(image);
  const container = {
    format,
    size: `${virtualBytes}`,
    ...(await readImageIdentity(image, format)),
  };
  if (format === 'raw') return { raw: image, sizeBytes: virtualBytes, container };
  await step.run(['qemu-img', 'convert', '-f', format, '-O', 'raw', image, work], {
    what: `cannot read ${image} as ${format}`,
  });
  return { raw: work, sizeBytes: virtualBytes, container };
}

interface Table {
  readonly header: Readonly<Record<string, string>>;
  readonly partitions: ReadonlyMap<
    number,
    { readonly extent: Extent; readonly fields: Readonly<Record<string, string>> }
  >;
}

async function readTable(step: StepRunner, raw: string): Promise<Table> {
  const { exitCode, stdout } = await step.tryRun(['sfdisk', '--json', `./${basename(raw)}`], { cwd: dirname(raw) });
  if (exitCode !== 0) return { header: {}, partitions: new Map() };
  const { partitiontable: table } = JSON.parse(stdout.toString('utf8')) as {
    partitiontable: Record<string, unknown> & { partitions?: Record<string, string | number>[] };
  };
  const { partitions = [], device: _, ...header } = table;
  const text = (fields: Record<string, unknown>): Record<string, string> =>
    Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, `${value}`]));
  return {
    header: text(header),
    partitions: new Map(
      partitions.map(({ node, ...fields }, index) => [
        Number(/(\d+)$/.exec(`${node}`)?.[1] ?? index + 1),
        {
          extent: { offsetBytes: sectorsToBytes(Number(fields.start)), sizeBytes: sectorsToBytes(Number(fields.size)) },
          fields: text(fields),
        },
      ]),
    ),
  };
}

async function diffPartition(
  step: StepRunner,
  part: { readonly number: number; readonly a: Extent; readonly b: Extent },
  a: Disk & { readonly file: import('node:fs/promises').FileHandle },
  b: Disk & { readonly file: import('node:fs/promises').FileHandle },
  work: string,
): Promise<Difference[]> {
  const samePlace = part.a.offsetBytes === part.b.offsetBytes && part.a.sizeBytes === part.b.sizeBytes;
  const [probeA, probeB] = [await probe(step, a.raw, part.a), await probe(step, b.raw, part.b)];
  const name = [probeA.TYPE, probeA.LABEL].filter((text) => text !== undefined).join(' ');
  const where = `${part.number === 0 ? 'the whole disk' : `partition ${part.number}`}${name === '' ? '' : ` (${name})`}`;
  const unitBytes = probeA.TYPE === 'ext4' ? 4096 : SECTOR_BYTES;
  const runs = samePlace ? await differingRuns(a.file, b.file, part.a, unitBytes) : undefined;
  if (runs?.length === 0) return [];
  if (probeA.TYPE === 'ext4' && probeB.TYPE === 'ext4') {
    const side = (disk: typeof a, extent: Extent) => ({
      location: ext4Location(STEP, disk.raw, extent.offsetBytes),
      file: disk.file,
      extent,
    });
    return diffExt4(step, where, side(a, part.a), side(b, part.b), runs ?? []);
  }
  if (probeA.TYPE === 'vfat' && probeB.TYPE === 'vfat') {
    const at = (disk: Disk, extent: Extent) => ({ image: disk.raw, offsetBytes: extent.offsetBytes });
    return diffFat(step, where, at(a, part.a), at(b, part.b), runs ?? [], join(work, `${part.number}`));
  }
  return [
    ...compareFields(where, 'filesystem', probeA, probeB),
    ...(runs ?? []).map(({ first, count }) => ({
      where,
      what: 'content',
      field: count === 1 ? `sector ${first}` : `sectors ${first} to ${first + count - 1}`,
      a: 'other bytes',
      b: 'other bytes',
    })),
  ];
}

/** What blkid(8) finds at a place of a disk. */
async function probe(
  step: StepRunner,
  raw: string,
  { offsetBytes, sizeBytes }: Extent,
): Promise<Record<string, string>> {
  const { stdout } = await step.tryRun([
    ...['blkid', '--probe', '--offset', `${offsetBytes}`, '--size', `${sizeBytes}`, '--output', 'export', raw],
  ]);
  return Object.fromEntries(
    stdout
      .toString('utf8')
      .split('\n')
      .filter((line) => line.includes('=') && !line.startsWith('DEVNAME='))
      .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
  );
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
