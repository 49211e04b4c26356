import type { Extent } from '../formats/extent.ts';
import { type LuksHeader, readLuksHeader } from '../formats/luks.ts';
import type { ImageReader } from '../inspect/image-reader.ts';
import { SECTOR_BYTES } from '../units.ts';
import type { Run } from './byte-ranges.ts';
import { compareFields, type Difference } from './difference.ts';

/** Compares two LUKS2 partitions: the facts of the headers, and how much of the encrypted data differs. Salts and key slots are random, so
 *  they differ for each image.
 *  @param runs sectors of the partition that differ; undefined when the partitions are at different positions.
 *  @returns undefined when a header is not one, or is damaged. */
export async function diffLuks(
  where: string,
  a: { readonly image: ImageReader; readonly extent: Extent },
  b: { readonly image: ImageReader; readonly extent: Extent },
  runs: readonly Run[] | undefined,
): Promise<Difference[] | undefined> {
  const [headerA, headerB] = [await headerOf(a), await headerOf(b)];
  if (typeof headerA !== 'object' || typeof headerB !== 'object') return undefined;
  const facts = compareFields(where, 'LUKS header', factsOf(headerA), factsOf(headerB));
  if (runs === undefined) return facts;
  const dataAt = headerA.dataOffsetBytes / SECTOR_BYTES;
  const count = (from: number, to: number): number =>
    runs.reduce((sum, run) => sum + Math.max(0, Math.min(run.first + run.count, to) - Math.max(run.first, from)), 0);
  const [inHeader, inData] = [count(0, dataAt), count(dataAt, Number.POSITIVE_INFINITY)];
  const random = { a: 'random by design', b: 'random by design' };
  return [
    ...facts,
    ...(inHeader === 0 ? [] : [{ where, what: 'LUKS header', field: 'salts and key slots', ...random }]),
    ...(inData === 0
      ? []
      : [{ where, what: 'encrypted data', field: `${inData} sectors`, a: 'other bytes', b: 'other bytes' }]),
  ];
}

async function headerOf({
  image,
  extent,
}: {
  readonly image: ImageReader;
  readonly extent: Extent;
}): ReturnType<typeof readLuksHeader> {
  return readLuksHeader(await image.part(extent.offsetBytes, extent.sizeBytes));
}

function factsOf({ uuid, label, cipher, sectorBytes, dataOffsetBytes, keySlots, tokens }: LuksHeader) {
  const slots = keySlots.map(({ id, keyDerivation, memoryBytes, iterations }) =>
    [`${id}: ${keyDerivation}`, ...(memoryBytes === undefined ? [] : [`${memoryBytes} bytes`]), iterations].join(' '),
  );
  return {
    ...{ uuid, label, cipher, sectorBytes: `${sectorBytes}`, dataOffsetBytes: `${dataOffsetBytes}` },
    ...{ keySlots: slots.join(', '), tokens: tokens.join(', ') },
  };
}
