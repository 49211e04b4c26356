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

/** The one directory outside the checkout that the project writes to. */
export interface CacheDirectory {
  readonly path: string;
  /** Why it is not where it belongs; undefined when it is. */
  readonly note: string | undefined;
}

const NAME = 'nixos-disk-image';

let known: { readonly of: string; readonly cache: CacheDirectory } | undefined;
let tell = (note: string): void => process.emitWarning(note);

/** Who shows a note about the cache directory to the user; otherwise it is a warning of Node's. It is given at most once. */
export function onCacheNote(listener: (note: string) => void): void {
  tell = listener;
}

/** Finds the cache directory: in XDG_CACHE_HOME, else in ~/.cache. Where that cannot be written to, a private one in the directory
 *  for temporary files, with a note.
 *  @throws {HarnessError} when there is no place for it at all.
 *  @see XDG Base Directory Specification: a path that is empty or relative counts as not set. */
export function findCacheDirectory(): CacheDirectory {
  const { XDG_CACHE_HOME: xdg, HOME: home } = process.env;
  const of = JSON.stringify([xdg, home, tmpdir()]);
  if (known?.of !== of) known = { of, cache: chooseCacheDirectory() };
  return known.cache;
}

/** The path of the cache directory, which is there and can be written to. */
export function cacheDirectory(): string {
  const before = known;
  const { path, note } = findCacheDirectory();
  if (note !== undefined && known !== before) tell(`the cache is in ${path}: ${note}`);
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
  /** The setting that it comes from. */
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

/** What is wrong with a directory, which is made where it is missing. */
function faultOf(path: string): string | undefined {
  try {
    makeDirectories(path);
    accessSync(path, constants.R_OK | constants.W_OK | constants.X_OK);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** Not `recursive`: below /proc, where mkdir(2) says ENOENT, Node would try for ever. */
function makeDirectories(path: string): void {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() === true) return;
  if (dirname(path) !== path) makeDirectories(dirname(path));
  try {
    mkdirSync(path);
  } catch (error) {
    // Another process may have made it.
    if (!isErrno(error, 'EEXIST') || !statSync(path).isDirectory()) throw error;
  }
}

/** This user's alone. What somebody else made under its name beforehand is not used: its programs would be run. */
function privateDirectory(): string {
  const uid = process.getuid?.() ?? 0;
  const path = join(tmpdir(), `${NAME}-${uid}`);
  const hint = 'set XDG_CACHE_HOME to a directory that you can write to';
  try {
    if (lstatSync(path, { throwIfNoEntry: false }) === undefined) mkdirSync(path, { mode: 0o700 });
    const found = lstatSync(path);
    if (!found.isDirectory()) throw new HarnessError(`the cache directory ${path} is not a directory`, { hint });
    if (found.uid !== uid)
      throw new HarnessError(`the cache directory ${path} is somebody else's: its owner is user ${found.uid}`, {
        hint,
      });
    if ((found.mode & 0o777) !== 0o700) chmodSync(path, 0o700);
    accessSync(path, constants.W_OK);
    return path;
  } catch (cause) {
    if (cause instanceof HarnessError) throw cause;
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new HarnessError(`there is no place for the cache directory: ${reason}`, { cause, hint });
  }
}

/** A file of the package's own sources, such as `vm-images/builder/agent.c`, from a checkout or from dist. */
export function packageFile(path: string): string {
  const here = dirname(fileURLToPath(import.meta.url));
  const packageRoot = here.endsWith(join('dist', 'harness')) ? join(here, '..', '..') : join(here, '..');
  return join(packageRoot, path);
}

/** What a JSON file of the cache has; undefined when it is not there, is damaged, or is another version's. */
export async function readCachedJson<S extends z.ZodType>(file: string, schema: S): Promise<z.output<S> | undefined> {
  try {
    return schema.safeParse(JSON.parse(await readFile(file, 'utf8'))).data;
  } catch {
    return undefined;
  }
}

/** Writes a JSON file whole, or not at all. */
export async function writeCachedJson(file: string, value: unknown): Promise<void> {
  const made = `${file}.${process.pid}`;
  await writeFile(made, `${JSON.stringify(value, undefined, 1)}\n`);
  await rename(made, file);
}

/** The cached directory `name`, made by `make` into a private one when it is not there yet, or is not whole any longer: each file
 *  that was made must still be there with its size. Of several processes, one makes it, and the others wait. */
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
  // Without its list, the directory counts as damaged.
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

/** The size of each file in a directory. */
async function sizesOf(directory: string): Promise<Record<string, number>> {
  const sizes: Record<string, number> = {};
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile()) sizes[relative(directory, path)] = lstatSync(path).size;
  }
  return sizes;
}
