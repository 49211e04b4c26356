import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { AbortedError, UnexpectedStateError } from '../errors.ts';
import type { StepRunner } from '../step.ts';
import { SECTOR_BYTES } from '../units.ts';

/** Blocks of a file that hold data: the first, and how many. */
export interface BlockRun {
  readonly start: number;
  readonly count: number;
}

export const BLOCK_BYTES = 4096;
const CHUNK_BYTES = 1024 * 1024;
const ZEROS = Buffer.alloc(BLOCK_BYTES);

/** Blocks of zeros between data that are not worth a hole: each costs an entry in the file's map. */
const SHORTEST_HOLE = 8;

/** A file that has so much less on disk than its size is asked for its holes before it is read. */
const WORTH_ASKING_BYTES = 16 * 1024 * 1024;

/** Which blocks of a file are not zeros. It depends on the content alone, not on how the host's filesystem holds it.
 *  @param file its name's bytes, and the size it was listed with.
 *  @throws {UnexpectedStateError} when it has another size now. Runs, for a sparse file: filefrag. */
export async function dataRuns(
  step: StepRunner,
  file: Buffer,
  sizeBytes: number,
  pause: () => Promise<void> | undefined,
): Promise<BlockRun[]> {
  const runs: { start: number; count: number }[] = [];
  const handle = openSync(file, 'r');
  try {
    const { size, blocks } = fstatSync(handle);
    if (size !== sizeBytes) throw changed(step, file);
    const sparse = size - blocks * SECTOR_BYTES > WORTH_ASKING_BYTES;
    const places = (sparse ? await dataRanges(step, file.toString('utf8')) : undefined) ?? [{ start: 0, end: size }];
    for (const { start, end } of places)
      for (let at = start; at < Math.min(end, size); ) {
        await pause();
        const wanted = Math.min(CHUNK_BYTES, Math.min(end, size) - at);
        const bytes = readSync(handle, buffer, 0, wanted, at);
        if (bytes < wanted) throw changed(step, file);
        findData(bytes, at / BLOCK_BYTES, runs);
        at += bytes;
      }
  } finally {
    closeSync(handle);
  }
  return runs;
}

export function changed(step: StepRunner, file: Buffer): UnexpectedStateError {
  return new UnexpectedStateError(step.step, `${file.toString('utf8')} changed while it was read`);
}

const buffer = Buffer.allocUnsafe(CHUNK_BYTES);

function findData(bytes: number, firstBlock: number, runs: { start: number; count: number }[]): void {
  for (let at = 0; at < bytes; at += BLOCK_BYTES) {
    const end = Math.min(at + BLOCK_BYTES, bytes);
    if (buffer[at] === 0 && buffer.compare(ZEROS, 0, end - at, at, end) === 0) continue;
    const block = firstBlock + at / BLOCK_BYTES;
    const last = runs.at(-1);
    if (last !== undefined && block - last.start - last.count < SHORTEST_HOLE) last.count = block - last.start + 1;
    else runs.push({ start: block, count: 1 });
  }
}

/** Lets the event loop run now and then between calls that block, and ends at an abort: 20,000 promises for 20,000 files
 *  would take longer than the files. */
export function pauses(step: StepRunner): () => Promise<void> | undefined {
  let last = performance.now();
  const rest = async (): Promise<void> => {
    await setImmediate();
    last = performance.now();
    if (step.signal?.aborted) throw new AbortedError(step.step, { cause: step.signal.reason });
  };
  return () => (performance.now() - last < 20 ? undefined : rest());
}

/** Where a file has data, in bytes; undefined where the host's filesystem does not tell (tmpfs). Node has no SEEK_DATA.
 *  @see filefrag(8) */
export async function dataRanges(
  step: StepRunner,
  file: string,
): Promise<{ start: number; end: number }[] | undefined> {
  // -s: what is still only in memory has no extents yet.
  const { exitCode, stdout } = await step.tryRun(['filefrag', '-s', '-e', '-b4096', `./${basename(file)}`], {
    cwd: dirname(file),
    // It exits with an errno where the filesystem of this host cannot list extents.
    answers: 'any',
  });
  if (exitCode !== 0) return undefined;
  return [...stdout.toString('utf8').matchAll(/^ *\d+: +(\d+)\.\. *(\d+):/gm)].map(([, first, last]) => ({
    start: Number(first) * BLOCK_BYTES,
    end: (Number(last) + 1) * BLOCK_BYTES,
  }));
}
