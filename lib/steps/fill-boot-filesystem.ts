import { z } from 'zod';
import { listFatFiles, writeFatTree } from '../filesystem/fat.ts';
import { listTree } from '../filesystem/tree.ts';
import { requireDirectory, requireDisk } from '../host-files/given-paths.ts';
import { defineStep, type Step, type WithOldNames } from '../run/define-step.ts';
import { InvalidOptionsError, UnexpectedStateError } from '../run/errors.ts';
import { partitionExtent, path, timestamp, treeEntries } from '../spec/fields.ts';

const STEP = 'fillBootFilesystem';

const schema = z.object({
  /** A raw disk image. */
  image: path,
  /** A partition with a FAT (makeBootFilesystem). Bytes. */
  partition: partitionExtent,
  /** Files and directories, as extractFilesystem returns them. Modes and owners are lost on a FAT. */
  files: treeEntries.optional(),
  /** A directory of this host whose contents are written, instead of `files`. */
  populateFrom: path.optional(),
  /** Seconds since 1970 for the files' times; default: now. */
  timestamp: timestamp.optional(),
});

const OLD_NAMES = { entries: 'files' } as const;

export type FillBootFilesystemOptions = WithOldNames<z.input<typeof schema>, typeof OLD_NAMES>;

/** Writes a tree into a FAT inside an image, in the order of its paths, without root and without mounting. Existing
 *  files are kept.
 *  @throws {ImageTooSmallError} with bytes needed and available, before anything is written.
 *  @throws {UnexpectedStateError} for a type that a FAT cannot store, such as a symbolic link, and for a file that
 *  exists already.
 *  Runs: flock, mcopy, mdir, mmd. */
export const fillBootFilesystem: Step<FillBootFilesystemOptions, void> = defineStep({
  name: STEP,
  options: schema,
  oldNames: OLD_NAMES,
  runs: ['mmd', 'mdir', 'mcopy', 'flock'],
  where: 'host',
  async prepare({ image, partition, files, populateFrom }) {
    if ((files === undefined) === (populateFrom === undefined))
      throw new InvalidOptionsError(STEP, [{ path: 'files', message: 'must be given, or populateFrom, but not both' }]);
    await requireDisk(STEP, image, [partition]);
    if (populateFrom !== undefined) await requireDirectory(STEP, populateFrom, 'populateFrom');
  },
  detail: ({ files, populateFrom }) => populateFrom ?? `${files?.length} files`,
  async run(step, { image, partition, files: given, populateFrom, timestamp: time }) {
    const tree = (given ?? (await listTree(step, { root: populateFrom }))).map((entry) => ({
      ...entry,
      path: textOf(entry.path),
      source: textOf(entry.source),
    }));
    const odd = tree.find(({ type }) => type !== 'file' && type !== 'directory');
    if (odd !== undefined)
      throw new UnexpectedStateError(STEP, `a FAT filesystem cannot store /${odd.path}`, {
        expected: 'a file or a directory',
        found: `a ${odd.type}`,
      });
    const location = { image, offsetBytes: partition.offsetBytes };
    const there = await listFatFiles(step, location);
    const twice = tree.find(({ path: name }) => there.has(name.toLowerCase()));
    if (twice !== undefined)
      throw new UnexpectedStateError(STEP, `duplicate entry /${twice.path}`, {
        expected: 'no such file on the partition',
        found: 'a file of the boot loader or of another entry',
      });
    const directories = tree
      .filter(({ type, path: name }) => type === 'directory' && name !== '')
      .map(({ path: name }) => name);
    const files = tree
      .filter(({ type }) => type === 'file')
      .map(({ path: name, source, sizeBytes }) => ({ path: name, content: { source, sizeBytes } }));
    await writeFatTree(step, location, { directories, files }, time);
  },
});

/** The text of a name whose bytes were decoded as latin1. */
function textOf(name: string): string {
  return Buffer.from(name, 'latin1').toString('utf8');
}
