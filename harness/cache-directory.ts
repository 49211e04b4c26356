import { accessSync, chmodSync, constants, lstatSync, mkdirSync, statSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { dirname, isAbsolute, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { makePrivateDirectory } from '../lib/host-files/private-output.ts';
import { isErrno } from '../lib/run/errno.ts';
import { waitForLock } from '../lib/run/kernel-lock.ts';
import { HarnessError } from './errors.ts';

/** The only directory outside the checkout that the project writes to. */
export interface CacheDirectory {
  readonly path: string;
  /** Why it is not in the usual place, or which setting was ignored; otherwise undefined. */
  readonly note: string | undefined;
}

const NAME = 'nixos-disk-image';

let known: { readonly of: string; readonly cache: CacheDirectory } | undefined;
let notify = (note: string): void => process.emitWarning(note);

/** Sets the listener for a note about the cache directory, which is emitted at most once. Default: a warning from Node. */
export function onCacheNote(listener: (note: string) => void): void {
  notify = listener;
}

/** Finds the cache directory: in XDG_CACHE_HOME, else in ~/.cache. If that is not writable, it is a private directory in the
 *  directory for temporary files, with a note.
 *  @throws {HarnessError} if none can be used.
 *  @see XDG Base Directory Specification: an empty or relative path counts as not set. */
export function findCacheDirectory(): CacheDirectory {
  const { XDG_CACHE_HOME: xdg, HOME: home } = process.env;
  const of = JSON.stringify([xdg, home, tmpdir()]);
  if (known?.of !== of) known = { of, cache: chooseCacheDirectory() };
  return known.cache;
}

/** Returns the path of the cache directory, which exists and is writable. */
export function cacheDirectory(): string {
  const before = known;
  const { path, note } = findCacheDirectory();
  if (note !== undefined && known !== before) notify(`the cache is in ${path}: ${note}`);
  return path;
}

function chooseCacheDirectory(): CacheDirectory {
  const wanted = wantedDirectory();
  if (wanted.path !== undefined) {
    const fault = faultOf(wanted.path);
    if (fault === undefined) return { path: wanted.path, note: wanted.note };
    return { path: privateDirectory(), note: `${wanted.path} (${wanted.from}) cannot be used: ${fault}` };
  }
  return { path: privateDirectory(), note: wanted.note };
}

interface WantedDirectory {
  readonly path: string | undefined;
  /** The setting that the path comes from. */
  readonly from?: string;
  readonly note: string | undefined;
}

function wantedDirectory(): WantedDirectory {
  const { XDG_CACHE_HOME: xdg = '', HOME: home } = process.env;
  if (isAbsolute(xdg)) return { path: join(xdg, NAME), from: 'XDG_CACHE_HOME', note: undefined };
  const ignored = xdg === '' ? undefined : `XDG_CACHE_HOME is ignored: ${JSON.stringify(xdg)} is not an absolute path`;
  const why = (reason: string): string => (ignored === undefined ? reason : `${ignored}; ${reason}`);
  if (home !== undefined && !isAbsolute(home))
    return { path: undefined, note: why(`HOME is not an absolute path: ${JSON.stringify(home)}`) };
  try {
    return { path: join(homedir(), '.cache', NAME), from: home === undefined ? 'passwd' : 'HOME', note: ignored };
  } catch {
    return { path: undefined, note: why(`HOME is not set, and user ${process.getuid?.()} has no entry in passwd`) };
  }
}

/** Creates a directory if it is missing. @returns why it cannot be used; undefined if it can. */
function faultOf(path: string): string | undefined {
  try {
    makeDirectories(path);
    accessSync(path, constants.R_OK | constants.W_OK | constants.X_OK);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** Creates a directory and its parents. Node's `recursive` would loop endlessly below /proc, where mkdir(2) fails with ENOENT. */
function makeDirectories(path: string): void {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() === true) return;
  if (dirname(path) !== path) makeDirectories(dirname(path));
  try {
    mkdirSync(path);
  } catch (error) {
    // Another process may have created it.
    if (!isErrno(error, 'EEXIST') || !statSync(path).isDirectory()) throw error;
  }
}

/** Returns a directory of this user in the directory for temporary files. It refuses one that belongs to another user, because
 *  programs from the cache are run. */
function privateDirectory(): string {
  const uid = process.getuid?.() ?? 0;
  const path = join(tmpdir(), `${NAME}-${uid}`);
  const hint = 'set XDG_CACHE_HOME to a directory that you can write to';
  try {
    if (lstatSync(path, { throwIfNoEntry: false }) === undefined) mkdirSync(path, { mode: 0o700 });
    const found = lstatSync(path);
    if (!found.isDirectory()) throw new HarnessError(`the cache directory ${path} is not a directory`, { hint });
    if (found.uid !== uid)
      throw new HarnessError(`the cache directory ${path} belongs to another user (UID ${found.uid})`, {
        hint,
      });
    if ((found.mode & 0o777) !== 0o700) chmodSync(path, 0o700);
    accessSync(path, constants.W_OK);
    return path;
  } catch (cause) {
    if (cause instanceof HarnessError) throw cause;
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new HarnessError(`the cache directory cannot be created: ${reason}`, { cause, hint });
  }
}

/** Returns the path of a file in this package, such as `vm-images/builder/agent.c`, from a checkout or from dist. */
export function packageFile(path: string): string {
  const here = dirname(fileURLToPath(import.meta.url));
  const packageRoot = here.endsWith(join('dist', 'harness')) ? join(here, '..', '..') : join(here, '..');
  return join(packageRoot, path);
}

/** Reads a JSON file from the cache; undefined if it is missing, is damaged or comes from another version. */
export async function readCachedJson<S extends z.ZodType>(file: string, schema: S): Promise<z.output<S> | undefined> {
  try {
    return schema.safeParse(JSON.parse(await readFile(file, 'utf8'))).data;
  } catch {
    return undefined;
  }
}

/** Writes a JSON file atomically. */
export async function writeCachedJson(file: string, value: unknown): Promise<void> {
  const made = `${file}.${process.pid}`;
  await writeFile(made, `${JSON.stringify(value, undefined, 1)}\n`);
  await rename(made, file);
}

/** Returns the cached directory `name`. `make` fills it if it does not exist or is no longer complete: each file must still have
 *  its size. One process does that while others wait. */
export async function cachedDirectory(name: string, make: (directory: string) => Promise<void>): Promise<string> {
  const target = join(cacheDirectory(), name);
  if (await isWhole(target)) return target;
  await mkdir(dirname(target), { recursive: true });
  using _lock = await waitForLock(`${target}.lock`);
  if (await isWhole(target)) return target;
  await using work = await makePrivateDirectory(dirname(target));
  const directory = join(work.path, 'made');
  await mkdir(directory);
  await make(directory);
  const sizes = await sizesOf(directory);
  // Without its list of files, the directory counts as damaged.
  await rm(listOf(target), { force: true });
  await rename(target, join(work.path, 'damaged')).catch(() => undefined);
  await rename(directory, target);
  await writeCachedJson(listOf(target), sizes);
  return target;
}

function listOf(target: string): string {
  return `${target}.files.json`;
}

const sizesSchema = z.record(z.string(), z.number());

async function isWhole(target: string): Promise<boolean> {
  const made = await readCachedJson(listOf(target), sizesSchema);
  if (made === undefined) return false;
  const found = await sizesOf(target).catch(() => ({}) as Record<string, number>);
  return Object.entries(made).every(([path, size]) => found[path] === size);
}

/** Returns the size of each file in a directory. */
async function sizesOf(directory: string): Promise<Record<string, number>> {
  const sizes: Record<string, number> = {};
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile()) sizes[relative(directory, path)] = lstatSync(path).size;
  }
  return sizes;
}
