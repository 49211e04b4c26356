import { mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import pRetry from 'p-retry';
import { AbortedError } from '../../lib/errors.ts';
import { isErrno } from '../../lib/private-output.ts';
import { processIdentity, processLives } from '../../lib/process-identity.ts';
import { cacheFolder } from '../cache-folder.ts';

/** A place among the machines that run at once on this host. */
export interface Place extends AsyncDisposable {
  /** Milliseconds that it was waited for. */
  readonly waitedMs: number;
}

/** Waits until fewer machines run than the host has processors, in all processes of this user: machines that starve each
 *  other tell nothing about their images. A place whose process was killed is free.
 *  @throws {AbortedError} */
export async function admit(signal?: AbortSignal, places = availableParallelism()): Promise<Place> {
  const folder = join(cacheFolder(), 'running');
  await mkdir(folder, { recursive: true });
  const startedAt = performance.now();
  const file = await pRetry(() => takeOne(folder, places), {
    retries: Number.POSITIVE_INFINITY,
    minTimeout: 100,
    maxTimeout: 500,
    ...(signal === undefined ? {} : { signal }),
  }).catch((cause: unknown) => {
    if (signal?.aborted) throw new AbortedError('admit', { cause: signal.reason });
    throw cause;
  });
  return {
    waitedMs: performance.now() - startedAt,
    async [Symbol.asyncDispose]() {
      await rm(file, { force: true });
    },
  };
}

async function takeOne(folder: string, places: number): Promise<string> {
  const identity = await processIdentity();
  for (let place = 0; place < places; place += 1) {
    const file = join(folder, `${place}`);
    try {
      await writeFile(file, identity, { flag: 'wx' });
      return file;
    } catch (error) {
      if (!isErrno(error, 'EEXIST')) throw error;
      if (await isAbandoned(file)) await rm(file, { force: true });
    }
  }
  throw new Error('all places are taken');
}

async function isAbandoned(file: string): Promise<boolean> {
  const owner = await readFile(file, 'utf8').catch(() => '');
  if (owner !== '') return !(await processLives(owner));
  // It is just being written, unless its process was killed at that.
  const { mtimeMs } = await stat(file).catch(() => ({ mtimeMs: Date.now() }));
  return Date.now() - mtimeMs > 10_000;
}
