import { open } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { z } from 'zod';
import { requireDisk } from '../host-files/given-paths.ts';
import { makePrivateDirectory } from '../host-files/private-output.ts';
import { readAt } from '../host-files/read-at.ts';
import { makeSparseFile } from '../host-files/sparse-file.ts';
import { writeAt } from '../host-files/write-at.ts';
import { defineStep, type Step } from '../run/define-step.ts';
import { UnexpectedStateError } from '../run/errors.ts';
import { guid, partitionExtent, path, swapLabel } from '../spec/fields.ts';

const STEP = 'makeSwap';

/** The size of a page, on every architecture for which swap is made here. */
const PAGE_BYTES = 4096;

const schema = z.object({
  /** A raw disk image. */
  image: path,
  /** The partition, as partitionDisk and writePartitions return it. Bytes. */
  partition: partitionExtent,
  /** At most 15 bytes; default "swap". */
  label: swapLabel.default('swap'),
  /** Default: random. */
  uuid: guid.optional(),
});

export interface MakeSwapOptions extends z.input<typeof schema> {}

/** Makes swap space in a partition of an image, without root.
 *  @throws {CommandFailedError} when the partition is too small: mkswap needs ten pages.
 *  @see mkswap(8), swapon(2). Runs: flock, mkswap. */
export const makeSwap: Step<MakeSwapOptions, void> = defineStep({
  name: STEP,
  options: schema,
  runs: ['mkswap', 'flock'],
  where: 'host',
  async prepare({ image, partition }) {
    await requireDisk(STEP, image, [partition]);
  },
  detail: ({ label }) => label,
  async run(step, { image, partition, label, uuid }) {
    // Before util-linux 2.39, mkswap takes no offset. What it writes is in the first page.
    await using work = await makePrivateDirectory(dirname(resolve(image)));
    const file = join(work.path, 'swap');
    await makeSparseFile(file, partition.sizeBytes);
    const identity = uuid === undefined ? [] : ['--uuid', uuid];
    await step.run(['mkswap', '--pagesize', `${PAGE_BYTES}`, '--label', label, ...identity, file], {
      what: `cannot make swap space in ${image}`,
    });
    await using from = await open(file, 'r');
    const page = await readAt(from, 0, PAGE_BYTES);
    if (page.toString('latin1', PAGE_BYTES - 10) !== 'SWAPSPACE2')
      throw new UnexpectedStateError(STEP, 'mkswap made no swap space', {
        expected: 'SWAPSPACE2',
        found: 'no signature',
      });
    await using to = await open(image, 'r+');
    await writeAt(to, partition.offsetBytes, page);
  },
});
