import { open } from 'node:fs/promises';
import { basename, posix, resolve } from 'node:path';
import { type SafeName, safeName } from '../programs/safe-name.ts';
import { ImageTooSmallError, UnexpectedStateError } from '../run/errors.ts';
import type { RunResult } from '../run/executor.ts';
import { commandFailure, type StepRunner } from '../run/step.ts';
import { formatBytes, KIB, MIB } from '../units.ts';
import { FatVolume } from './fat-volume.ts';

/** A FAT filesystem inside a disk image. */
export interface FatLocation {
  readonly image: string;
  readonly offsetBytes: number;
}

/** The earliest time that a FAT can store: 1980-01-01. */
export const FAT_EPOCH = 315_532_800;

/** The fewest clusters of a FAT16, the sectors in each that mkfs.fat begins with, and what is beside them. */
const FAT16 = { clusters: 4085, clusterSectors: 4, restSectors: 40, restBytes: 128 * KIB };

/** The FAT type that mkfs.fat chooses for a device of this size. With an offset, it would use the size of the whole
 *  image. A FAT32 with fewer than 65,525 clusters is invalid, and a FAT16 with fewer than 4,085. @see mkfs.fat(8) -F */
export function fatBits(sizeBytes: number, sectorBytes: number): 12 | 16 | 32 {
  if (sizeBytes >= 512 * MIB) return 32;
  const rest = Math.max(FAT16.restBytes, FAT16.restSectors * sectorBytes);
  return sizeBytes > FAT16.clusters * FAT16.clusterSectors * sectorBytes + rest ? 16 : 12;
}

/** Environment variables that make mtools independent of the host: no configuration, UTC, the time to write. @see
 *  mtools(1) */
export function mtoolsEnvironment(timestamp: number | undefined): Record<string, string> {
  return {
    MTOOLSRC: '/dev/null',
    MTOOLS_SKIP_CHECK: '1',
    TZ: 'UTC',
    ...(timestamp === undefined ? {} : { SOURCE_DATE_EPOCH: `${Math.max(timestamp, FAT_EPOCH)}` }),
  };
}

/** The name of a FAT in an image for mtools, with the directory in which they must run. Other paths must be
 *  absolute. */
export async function mtoolsName({ image, offsetBytes }: FatLocation): Promise<SafeName> {
  const { cwd, name, [Symbol.asyncDispose]: dispose } = await safeName(image);
  return { cwd, name: `${name}@@${offsetBytes}`, [Symbol.asyncDispose]: dispose };
}

export interface FatFacts {
  readonly bits: 12 | 16 | 32;
  /** As in /dev/disk/by-uuid: `1234-ABCD`. */
  readonly volumeId: string;
  readonly label: string;
  readonly clusterBytes: number;
  readonly sizeBytes: number;
  readonly freeBytes: number;
}

/** Reads a FAT's boot sector, and counts its free clusters. @throws {UnexpectedStateError} when there is no FAT. */
export async function readFat(step: string, { image, offsetBytes }: FatLocation): Promise<FatFacts> {
  await using handle = await open(image, 'r');
  const volume = await FatVolume.open(async (at, bytes) => {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(bytes), 0, bytes, offsetBytes + at);
    return buffer.subarray(0, bytesRead);
  });
  if (volume === undefined)
    throw new UnexpectedStateError(step, `there is no FAT filesystem at byte ${offsetBytes} of ${image}`);
  const { bits, volumeId, label, clusterBytes, sizeBytes } = volume.layout;
  return { bits, volumeId, label, clusterBytes, sizeBytes, freeBytes: await volume.freeBytes() };
}

/** A file to write to a FAT. Its content is text, bytes, or a file on this host. */
export interface FatFile {
  /** From the filesystem's root, without a leading slash. */
  readonly path: string;
  readonly content: { readonly source: string; readonly sizeBytes: number } | { readonly text: string | Uint8Array };
}

/** Writes directories and files into a FAT, in the order of their paths. Existing directories are kept.
 *  @throws {ImageTooSmallError} before anything is written, with bytes needed and available. Runs: mmd, mcopy. */
export async function writeFatTree(
  step: StepRunner,
  location: FatLocation,
  tree: { readonly directories: readonly string[]; readonly files: readonly FatFile[] },
  timestamp: number | undefined,
): Promise<void> {
  const files = [...tree.files].sort((a, b) => (a.path < b.path ? -1 : 1));
  const directories = withParents([...tree.directories, ...files.map(({ path }) => parentOf(path))]);
  checkNames(step.step, directories, files);
  const { clusterBytes, freeBytes, label } = await readFat(step.step, location);
  const sizeOf = ({ content }: FatFile): number =>
    'source' in content ? content.sizeBytes : Buffer.byteLength(content.text);
  const needed =
    files.reduce((sum, file) => sum + Math.ceil(sizeOf(file) / clusterBytes), directories.length) * clusterBytes;
  if (needed > freeBytes) {
    const [largest] = [...files].sort((a, b) => sizeOf(b) - sizeOf(a));
    throw new ImageTooSmallError(
      step.step,
      `the boot partition "${label}"`,
      { neededBytes: needed, availableBytes: freeBytes },
      {
        hint: `set a larger bootSize, or a larger size in partitions; the largest file is ${largest?.path} with ${formatBytes(largest === undefined ? 0 : sizeOf(largest))}`,
      },
    );
  }
  const env = mtoolsEnvironment(timestamp);
  await using image = await mtoolsName(location);
  const { cwd } = image;
  const there = await listDirectories(step, image);
  const missing = [...new Map(directories.map((directory) => [directory.toLowerCase(), directory])).values()].filter(
    (directory) => !there.has(directory.toLowerCase()),
  );
  if (missing.length > 0)
    await step.run(['mmd', '-i', image.name, ...missing.map((directory) => `::/${directory}`)], { env, cwd });
  for (const batch of batches(files)) {
    const [{ path, content }] = batch;
    const sources = batch.map((file) => ('source' in file.content ? resolve(file.content.source) : '-'));
    const target = batch.length > 1 ? `::/${parentOf(path)}` : `::/${path}`;
    await step.run(['mcopy', '-o', '-i', image.name, ...sources, target], {
      env,
      cwd,
      input: 'source' in content ? undefined : content.text,
      what: `cannot write ${path} to the boot partition "${label}"`,
    });
  }
}

const LARGEST_BATCH = 256;

/** Groups files, in order, for one mcopy each: several files of one directory that keep their names, or a single
 *  file. */
function batches(files: readonly FatFile[]): [FatFile, ...FatFile[]][] {
  const all: [FatFile, ...FatFile[]][] = [];
  const keepsName = ({ path, content }: FatFile): boolean =>
    'source' in content && basename(content.source) === posix.basename(path);
  for (const file of files) {
    const last = all.at(-1);
    const [first] = last ?? [];
    const joins =
      first !== undefined && keepsName(first) && keepsName(file) && parentOf(first.path) === parentOf(file.path);
    if (joins && last !== undefined && last.length < LARGEST_BATCH) last.push(file);
    else all.push([file]);
  }
  return all;
}

/** Characters that are not allowed in long names. @see Microsoft FAT specification, section 7 */
const FORBIDDEN = /["*:<>?\\|\p{Cc}]|[. ]$/u;
const LONGEST_NAME = 255;

/** @throws {UnexpectedStateError} for names that a FAT does not allow, and for two names that differ only in case. */
function checkNames(step: string, directories: readonly string[], files: readonly FatFile[]): void {
  const paths = files.map(({ path }) => path);
  for (const path of [...directories, ...paths])
    for (const name of path.split('/')) {
      const wrong = FORBIDDEN.exec(name)?.[0];
      if (wrong !== undefined)
        throw new UnexpectedStateError(
          step,
          `a FAT filesystem does not allow ${JSON.stringify(wrong)} in names: /${path}`,
          {},
        );
      if (name.length > LONGEST_NAME)
        throw new UnexpectedStateError(
          step,
          `a FAT filesystem does not allow names of ${name.length} characters: /${path}`,
          {
            expected: `at most ${LONGEST_NAME}`,
          },
        );
    }
  const taken = new Map(directories.map((directory) => [directory.toLowerCase(), directory]));
  for (const path of paths) {
    const other = taken.get(path.toLowerCase());
    if (other !== undefined)
      throw new UnexpectedStateError(step, `/${other} and /${path} are the same name on a FAT filesystem`, {
        expected: 'names that differ in more than case',
      });
    taken.set(path.toLowerCase(), path);
  }
}

/** Lists the directories on a FAT, in lower case, because its names are case-insensitive. */
async function listDirectories(step: StepRunner, name: SafeName): Promise<Set<string>> {
  const entries = await listNames(step, name);
  return new Set(entries.filter((entry) => entry.endsWith('/')).map((entry) => entry.slice(0, -1)));
}

/** Lists the files on a FAT, in lower case. Runs: mdir. */
export async function listFatFiles(step: StepRunner, location: FatLocation): Promise<Set<string>> {
  await using name = await mtoolsName(location);
  return new Set((await listNames(step, name)).filter((entry) => !entry.endsWith('/')));
}

/** Lists all names, in lower case; directories end with a slash. */
async function listNames(step: StepRunner, { cwd, name }: SafeName): Promise<string[]> {
  const { stdout } = await readWholeFat(step, ['mdir', '-b', '-/', '-a', '-i', name, '::/'], cwd);
  return stdout
    .toString('utf8')
    .split('\n')
    .filter((line) => line.startsWith('::/'))
    .map((line) => line.slice(3).toLowerCase());
}

/** Runs a program of mtools that reads a whole FAT. It exits with status 1 for an empty FAT, as for every error. */
export async function readWholeFat(step: StepRunner, argv: readonly string[], cwd: string): Promise<RunResult> {
  const result = await step.tryRun(argv, { answers: [1], env: mtoolsEnvironment(undefined), cwd });
  if (result.exitCode !== 0 && !reportsEmpty(result)) throw commandFailure(step.step, step.executor, result);
  return result;
}

function reportsEmpty({ stdout, stderr }: RunResult): boolean {
  return stdout.length === 0 && /: File "::\/\*?" not found\s*$/m.test(stderr.toString('utf8'));
}

function parentOf(path: string): string {
  return path.includes('/') ? path.slice(0, path.lastIndexOf('/')) : '';
}

function withParents(directories: readonly string[]): string[] {
  const all = new Set<string>();
  for (const directory of directories) for (let at = directory; at !== ''; at = parentOf(at)) all.add(at);
  return [...all].sort();
}
