import { fstatSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { BLOCK_BYTES } from '../formats/ext4/layout.ts';
import { AbortedError, UnexpectedStateError } from '../run/errors.ts';
import type { StepRunner } from '../run/step.ts';
import { SECTOR_BYTES } from '../units.ts';

/** A run of blocks of a file that contain data: the first block, and their number. */
export interface BlockRun {
  readonly start: number;
  readonly count: number;
}

const ZEROS = Buffer.alloc(BLOCK_BYTES);

/** Shorter runs of zero blocks between data are written, not left as holes, because every hole costs an extent. */
export const SHORTEST_HOLE = 8;

/** For a file with more holes than this, its extents are queried before it is read. */
const WORTH_ASKING_BYTES = 16 * 1024 * 1024;

/** Finds the ranges of a file that may contain data, in bytes, aligned to blocks. @param file its path, as bytes.
 *  @param sizeBytes its size when it was listed. @throws {UnexpectedStateError} when its size has changed. Runs, for a
 *  sparse file: filefrag. */
export async function dataPlaces(
  step: StepRunner,
  handle: number,
  file: Buffer,
  sizeBytes: number,
): Promise<readonly ByteRange[]> {
  const whole = [{ start: 0, end: sizeBytes }];
  if (sizeBytes <= WORTH_ASKING_BYTES) return whole;
  const { size, blocks } = fstatSync(handle);
  if (size !== sizeBytes) throw changed(step, file);
  if (size - blocks * SECTOR_BYTES <= WORTH_ASKING_BYTES) return whole;
  const ranges = await dataRanges(step, file.toString('utf8'));
  return ranges?.map(({ start, end }) => ({ start, end: Math.min(end, sizeBytes) })) ?? whole;
}

export function changed(step: StepRunner, file: Buffer): UnexpectedStateError {
  return new UnexpectedStateError(step.step, `${file.toString('utf8')} changed while it was being read`);
}

/** Finds the blocks of a chunk that are not zero. The result depends only on the content, not on how the host stores
 *  the file.
 *  @param first number of the chunk's first block in the file. */
export function findData(bytes: Buffer, first: number): BlockRun[] {
  const runs: { start: number; count: number }[] = [];
  for (let at = 0; at < bytes.length; at += BLOCK_BYTES) {
    const end = Math.min(at + BLOCK_BYTES, bytes.length);
    if (bytes[at] === 0 && bytes.compare(ZEROS, 0, end - at, at, end) === 0) continue;
    const block = first + at / BLOCK_BYTES;
    const last = runs.at(-1);
    if (last !== undefined && block - last.start - last.count < SHORTEST_HOLE) last.count = block - last.start + 1;
    else runs.push({ start: block, count: 1 });
  }
  return runs;
}

/** Returns a function that lets the event loop run every 20 ms between synchronous calls, and throws when the step is
 *  aborted. Awaiting a promise for each of many files would take longer than reading them. */
export function pauses(step: StepRunner): () => Promise<void> | undefined {
  let last = performance.now();
  const rest = async (): Promise<void> => {
    await setImmediate();
    last = performance.now();
    if (step.signal?.aborted) throw new AbortedError(step.step, { cause: step.signal.reason });
  };
  return () => (performance.now() - last < 20 ? undefined : rest());
}

/** A range of bytes in a file; `end` is exclusive. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

/** The ranges of a file with data, in bytes; undefined if the host's filesystem cannot list extents (tmpfs). Node has
 *  no SEEK_DATA.
 *  @see filefrag(8) */
export async function dataRanges(step: StepRunner, file: string): Promise<ByteRange[] | undefined> {
  // -s syncs first: data that is only in memory has no extents.
  const { exitCode, stdout } = await step.tryRun(['filefrag', '-s', '-e', '-b4096', `./${basename(file)}`], {
    cwd: dirname(file),
    // filefrag exits with an errno if the host's filesystem cannot list extents.
    answers: 'any',
  });
  if (exitCode !== 0) return undefined;
  return [...stdout.toString('utf8').matchAll(/^ *\d+: +(\d+)\.\. *(\d+):/gm)].map(([, first, last]) => ({
    start: Number(first) * BLOCK_BYTES,
    end: (Number(last) + 1) * BLOCK_BYTES,
  }));
}
