import type { FileHandle } from 'node:fs/promises';
import { AesXts } from '../formats/aes-xts.ts';
import type { Extent } from '../formats/extent.ts';
import { writeAt } from '../host-files/write-at.ts';
import type { StepRunner } from '../run/step.ts';
import { MIB, roundDown } from '../units.ts';
import { type ByteRange, pauses } from './data-runs.ts';
import { Region } from './region.ts';

const CHUNK_BYTES = MIB;
const BLOCK_BYTES = 4096;
const ZEROS = Buffer.alloc(BLOCK_BYTES);

interface Encryption {
  readonly key: Uint8Array;
  readonly sectorBytes: number;
  /** In ascending order, relative to the part. */
  readonly free: readonly Extent[];
  /** Where the image has data and no holes, in bytes of the image; undefined if that is not known. */
  readonly data: readonly ByteRange[] | undefined;
}

/** Encrypts a part of a raw image in place. Free ranges stay as they are where they are zero, so that the image stays sparse; other
 *  bytes in them, which deleted files left, are encrypted as well. One chunk is written while the next is encrypted.
 *  @param disk the image, opened for reading and writing.
 *  @returns how many bytes were encrypted. */
export async function encryptRegion(
  step: StepRunner,
  disk: FileHandle,
  { offsetBytes, sizeBytes }: Extent,
  { key, sectorBytes, free, data }: Encryption,
): Promise<number> {
  const region = new Region(disk.fd, offsetBytes);
  const cipher = new AesXts('encrypt', key, sectorBytes);
  const pause = pauses(step);
  let [buffer, other] = [Buffer.alloc(CHUNK_BYTES), Buffer.alloc(CHUNK_BYTES)];
  let encrypted = 0;
  let range = 0;
  const hasData = (at: number, length: number): boolean => {
    if (data === undefined) return true;
    while ((data[range]?.end ?? Number.POSITIVE_INFINITY) <= at) range += 1;
    return (data[range]?.start ?? Number.POSITIVE_INFINITY) < at + length;
  };
  // Its error is kept until the next chunk is ready: nobody waits for it before.
  let writing: Promise<unknown> = Promise.resolve();
  const finishWriting = async (): Promise<void> => {
    const error = await writing;
    if (error !== undefined) throw error;
  };
  try {
    for (const { offsetBytes: start, sizeBytes: length, isFree } of partsOf(sizeBytes, free))
      for (let at = start; at < start + length; at += CHUNK_BYTES) {
        await pause();
        step.progress(at, sizeBytes);
        if (isFree && !hasData(offsetBytes + at, CHUNK_BYTES)) continue;
        const bytes = buffer.subarray(0, Math.min(CHUNK_BYTES, start + length - at));
        region.readInto(at, bytes);
        if (isFree) {
          encrypted += encryptLeftovers(region, cipher, at, bytes);
          continue;
        }
        cipher.update(at, bytes);
        encrypted += bytes.length;
        await finishWriting();
        writing = writeAt(disk, offsetBytes + at, bytes).then(
          () => undefined,
          (error: unknown) => error,
        );
        [buffer, other] = [other, buffer];
      }
    await finishWriting();
  } finally {
    // The caller closes the file.
    await writing;
  }
  step.progress(sizeBytes, sizeBytes);
  return encrypted;
}

/** Encrypts the blocks of a free range that are not zero. */
function encryptLeftovers(region: Region, cipher: AesXts, at: number, bytes: Buffer): number {
  let encrypted = 0;
  for (let block = 0; block < bytes.length; block += BLOCK_BYTES) {
    const one = bytes.subarray(block, block + BLOCK_BYTES);
    if (one.compare(ZEROS, 0, one.length) === 0) continue;
    cipher.update(at + block, one);
    region.write(at + block, one);
    encrypted += one.length;
  }
  return encrypted;
}

/** The whole part, cut where it becomes free or used. Only whole blocks of 4096 bytes are free, because those are whole sectors. */
function* partsOf(sizeBytes: number, free: readonly Extent[]): Generator<Extent & { readonly isFree: boolean }> {
  let at = 0;
  for (const { offsetBytes, sizeBytes: length } of free) {
    const start = Math.max(at, roundDown(offsetBytes + BLOCK_BYTES - 1, BLOCK_BYTES));
    const end = Math.min(roundDown(offsetBytes + length, BLOCK_BYTES), sizeBytes);
    if (end <= start) continue;
    if (start > at) yield { offsetBytes: at, sizeBytes: start - at, isFree: false };
    yield { offsetBytes: start, sizeBytes: end - start, isFree: true };
    at = end;
  }
  if (at < sizeBytes) yield { offsetBytes: at, sizeBytes: sizeBytes - at, isFree: false };
}
