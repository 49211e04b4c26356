import { mkdir, rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { AbortedError, InvalidOptionsError } from '../../lib/run/errors.ts';
import { type KernelLock, tryLock, waitForLock } from '../../lib/run/kernel-lock.ts';
import { processSpace } from '../../lib/run/process-identity.ts';
import { formatDuration } from '../../lib/units.ts';
import { cacheDirectory, readCachedJson, writeCachedJson } from '../cache-directory.ts';
import { HarnessError } from '../errors.ts';

/** A place among the machines that may run at once on this host. */
export interface Place extends AsyncDisposable {
  /** Milliseconds spent waiting for the place. */
  readonly waitedMs: number;
}

/** The holder of a place. */
export interface PlaceHolder {
  readonly pid: number;
  /** What the holder runs: an image and its firmware. */
  readonly label: string;
  /** When the place was taken, in milliseconds since 1970. */
  readonly since: number;
  /** Whether the PID is valid here and not in another container. */
  readonly isHere: boolean;
}

export interface AdmitOptions {
  /** How many machines may run at once; default: NIXOS_DISK_IMAGE_MACHINES, or the number of processors. */
  readonly places?: number | undefined;
  /** Milliseconds to wait for a place; default: no limit. */
  readonly timeoutMs?: number | undefined;
  /** The label that waiting processes see: an image and its firmware. */
  readonly label?: string | undefined;
  /** Called once with the current holders if no place is free. */
  readonly onWait?: ((holders: readonly PlaceHolder[]) => void) | undefined;
}

/** Waits for a place: at most as many machines run as the host has processors, in all processes and containers that share the cache
 *  directory. Machines that starve each other say nothing about their images. The kernel frees the place of a process that dies.
 *  @throws {AbortedError}
 *  @throws {HarnessError} if no place became free in time. */
export async function admit(
  signal?: AbortSignal,
  { places = machinesAtOnce(), timeoutMs, label = 'a machine', onWait }: AdmitOptions = {},
): Promise<Place> {
  const directory = join(cacheDirectory(), 'places');
  await mkdir(directory, { recursive: true });
  const files = Array.from({ length: Math.max(1, places) }, (_, place) => join(directory, `${place}`));
  const startedAt = performance.now();
  const lock = (await takeFree(files)) ?? (await waitForOne(files, directory, signal, timeoutMs, onWait));
  await describe(lock.file, label);
  return {
    waitedMs: performance.now() - startedAt,
    async [Symbol.asyncDispose]() {
      await rm(holderFile(lock.file), { force: true });
      lock[Symbol.dispose]();
    },
  };
}

/** Returns how many machines may run at once on this host.
 *  @throws {InvalidOptionsError} if NIXOS_DISK_IMAGE_MACHINES is not a number of at least 1. */
function machinesAtOnce(): number {
  const given = process.env.NIXOS_DISK_IMAGE_MACHINES;
  if (given === undefined || given === '') return availableParallelism();
  if (!/^[1-9]\d{0,3}$/.test(given))
    throw new InvalidOptionsError('environment', [
      { path: 'NIXOS_DISK_IMAGE_MACHINES', message: `"${given}" is not a number of machines (1 or more)` },
    ]);
  return Number(given);
}

/** Formats the holders for a message: "pid 812 (nixos.img, efi, for 12 s)". */
export function describeHolders(holders: readonly PlaceHolder[]): string {
  if (holders.length === 0) return 'other machines';
  return holders
    .map(({ pid, label, since, isHere }) => {
      const who = isHere ? `pid ${pid}` : `pid ${pid} in another container`;
      return `${who} (${label}, for ${formatDuration(Math.max(0, Date.now() - since))})`;
    })
    .join(', ');
}

async function takeFree(files: readonly string[]): Promise<KernelLock | undefined> {
  for (const file of files) {
    const lock = await tryLock(file);
    if (lock !== undefined) return lock;
  }
  return undefined;
}

async function waitForOne(
  files: readonly string[],
  directory: string,
  signal: AbortSignal | undefined,
  timeoutMs: number | undefined,
  onWait: AdmitOptions['onWait'],
): Promise<KernelLock> {
  onWait?.(await readHolders(files));
  const deadline = timeoutMs === undefined ? undefined : AbortSignal.timeout(timeoutMs);
  const either = AbortSignal.any([signal, deadline].filter((one) => one !== undefined));
  try {
    // Waiting processes queue up here, so that only one at a time waits for the places.
    using _line = await waitForLock(join(directory, 'line'), either);
    return await firstOf(files, either);
  } catch (cause) {
    if (signal?.aborted) throw new AbortedError('admit', { cause: signal.reason });
    if (deadline?.aborted !== true || timeoutMs === undefined) throw cause;
    throw new HarnessError(
      `no place for another machine became free within ${formatDuration(timeoutMs)}; places are held by ${describeHolders(await readHolders(files))}`,
      {
        hint: `at most ${files.length} machines run at once on this host: wait for one to end, or allow more time`,
      },
    );
  }
}

/** Returns the first lock that becomes free, and releases any others that become free at the same time. */
async function firstOf(files: readonly string[], signal: AbortSignal): Promise<KernelLock> {
  const decided = new AbortController();
  const either = AbortSignal.any([signal, decided.signal]);
  const waits = files.map((file) => waitForLock(file, either));
  try {
    const first = await Promise.race(waits);
    decided.abort();
    for (const wait of await Promise.allSettled(waits))
      if (wait.status === 'fulfilled' && wait.value !== first) wait.value[Symbol.dispose]();
    return first;
  } catch (error) {
    decided.abort();
    for (const wait of await Promise.allSettled(waits)) if (wait.status === 'fulfilled') wait.value[Symbol.dispose]();
    throw error;
  }
}

function holderFile(place: string): string {
  return `${place}.holder`;
}

const holderSchema = z.object({ pid: z.number(), label: z.string(), since: z.number(), space: z.string() });

/** Writes the holder's file beside the lock, which in some containers belongs to another user. Only the holder of the lock writes
 *  it. */
async function describe(place: string, label: string): Promise<void> {
  const holder = { pid: process.pid, label, since: Date.now(), space: await processSpace() };
  await writeCachedJson(holderFile(place), holder satisfies z.output<typeof holderSchema>);
}

async function readHolders(files: readonly string[]): Promise<PlaceHolder[]> {
  const here = await processSpace();
  const holders = await Promise.all(files.map((file) => readCachedJson(holderFile(file), holderSchema)));
  return holders.flatMap((holder) => {
    if (holder === undefined) return [];
    const { space, ...shown } = holder;
    return [{ ...shown, isHere: space === here }];
  });
}
