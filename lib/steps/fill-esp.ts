import { z } from 'zod';
import { writeFatTree } from '../filesystem/fat.ts';
import type { TreeEntry } from '../filesystem/tree.ts';
import { requireDisk } from '../host-files/given-paths.ts';
import { partitionExtent, path, timestamp, treeEntries } from '../spec/fields.ts';
import { parseOptions } from '../spec/parse-options.ts';
import { runStep, type StepContext } from '../step.ts';

const STEP = 'fillEsp';

const schema = z.object({
  image: path,
  partition: partitionExtent,
  entries: treeEntries,
  timestamp: timestamp.optional(),
});

export interface FillEspOptions {
  /** A raw disk image. */
  readonly image: string;
  /** A partition with a FAT (formatEsp). Bytes. */
  readonly partition: { readonly offsetBytes: number; readonly sizeBytes: number };
  /** Files and folders, as extractFilesystem returns them; FAT keeps no modes and no owners. */
  readonly entries: readonly TreeEntry[];
  /** Seconds since 1970 for the files' times; default: now. */
  readonly timestamp?: number | undefined;
}

/** Writes a tree into a FAT inside an image, in the order of its paths: no root, no mount.
 *  @throws {ImageTooSmallError} with bytes needed and available, before anything is written. Runs: mmd, mdir, mcopy. */
export async function fillEsp(options: FillEspOptions, context?: StepContext): Promise<void> {
  const { image, partition, entries, timestamp: time } = parseOptions(STEP, schema, options);
  await requireDisk(STEP, image, [partition]);
  return runStep(STEP, context, `${entries.length} entries`, async (step) => {
    const folders = entries
      .filter(({ type, path: name }) => type === 'folder' && name !== '')
      .map(({ path: name }) => name);
    const files = entries
      .filter(({ type }) => type === 'file')
      .map(({ path: name, source, sizeBytes }) => ({ path: name, content: { source, sizeBytes } }));
    await writeFatTree(step, { image, offsetBytes: partition.offsetBytes }, { folders, files }, time);
  });
}
