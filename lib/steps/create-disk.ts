import { open, rm } from 'node:fs/promises';
import { z } from 'zod';
import { defineStep, type Step } from '../run/define-step.ts';
import { isErrno } from '../run/errno.ts';
import { NoSpaceError, UnexpectedStateError } from '../run/errors.ts';
import { path } from '../spec/fields.ts';
import { SECTOR_BYTES } from '../units.ts';

const STEP = 'createDisk';

const schema = z.object({
  /** The file to create; it must not exist. */
  image: path,
  /** Bytes, a multiple of 512. */
  sizeBytes: z.int().positive().multipleOf(SECTOR_BYTES, `must be a multiple of ${SECTOR_BYTES}, the sector size`),
});

export interface CreateDiskOptions extends z.input<typeof schema> {}

export interface CreatedDisk {
  readonly image: string;
  readonly sizeBytes: number;
  /** The space that it occupies on the host, in bytes; 0 if the host's filesystem supports sparse files. */
  readonly allocatedBytes: number;
}

/** Creates an empty sparse file of `sizeBytes`.
 *  @throws {UnexpectedStateError} when `image` exists.
 *  @throws {NoSpaceError} when the filesystem cannot hold a file of that size. Runs: nothing. */
export const createDisk: Step<CreateDiskOptions, CreatedDisk> = defineStep({
  name: STEP,
  options: schema,
  runs: [],
  where: 'host',
  detail: ({ image }) => image,
  async run(_step, { image, sizeBytes }) {
    const handle = await open(image, 'wx').catch((error: unknown) => {
      if (isErrno(error, 'EEXIST'))
        throw new UnexpectedStateError(STEP, `${image} exists already`, { expected: 'no such file', cause: error });
      throw error;
    });
    try {
      await handle.truncate(sizeBytes);
      const facts = await handle.stat();
      return { image, sizeBytes: facts.size, allocatedBytes: facts.blocks * SECTOR_BYTES };
    } catch (error) {
      await rm(image, { force: true });
      if (isErrno(error, 'EFBIG') || isErrno(error, 'ENOSPC'))
        throw new NoSpaceError(STEP, image, { neededBytes: sizeBytes }, { cause: error });
      throw error;
    } finally {
      await handle.close();
    }
  },
});
