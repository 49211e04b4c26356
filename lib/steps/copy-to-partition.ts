import { realpath, stat } from 'node:fs/promises';
import { z } from 'zod';
import { spliceSparse } from '../filesystem/splice.ts';
import { requireDisk, requireFile } from '../host-files/given-paths.ts';
import { defineStep, type Step } from '../run/define-step.ts';
import { ImageTooSmallError, InvalidOptionsError } from '../run/errors.ts';
import { partitionExtent, path } from '../spec/fields.ts';

const STEP = 'copyToPartition';

const schema = z.object({
  /** A raw disk image. */
  image: path,
  /** The partition, as partitionDisk and writePartitions return it. Bytes. It must be empty: what is zero in the file is not
   *  written. */
  partition: partitionExtent,
  /** The file whose bytes the partition gets, such as a filesystem. */
  source: path,
});

export interface CopyToPartitionOptions extends z.input<typeof schema> {}

/** Copies the bytes of a file into an empty partition of an image. Holes stay holes.
 *  @throws {ImageTooSmallError} when the file is larger than the partition.
 *  Runs: filefrag. */
export const copyToPartition: Step<CopyToPartitionOptions, { readonly copiedBytes: number }> = defineStep({
  name: STEP,
  options: schema,
  runs: ['filefrag'],
  where: 'host',
  async prepare({ image, partition, source }) {
    await requireDisk(STEP, image, [partition]);
    await requireFile(STEP, source, 'source');
    if ((await realpath(source)) === (await realpath(image)))
      throw new InvalidOptionsError(STEP, [{ path: 'source', message: 'is the same file as image' }]);
  },
  detail: ({ source }) => source,
  async run(step, { image, partition, source }) {
    const { size: copiedBytes } = await stat(source);
    if (copiedBytes > partition.sizeBytes)
      throw new ImageTooSmallError(
        STEP,
        `the partition at byte ${partition.offsetBytes} of ${image}`,
        { neededBytes: copiedBytes, availableBytes: partition.sizeBytes },
        { hint: `make the partition as large as ${source}` },
      );
    await spliceSparse(step, { file: source }, { image, offsetBytes: partition.offsetBytes });
    step.measured(copiedBytes);
    return { copiedBytes };
  },
});
