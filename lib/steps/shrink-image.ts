import { constants } from 'node:fs';
import { access, chmod, chown, open, realpath, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { readExt4Superblock } from '../filesystem/ext4/open.ts';
import { spliceSparse } from '../filesystem/splice.ts';
import type { ReadBytes } from '../formats/extent.ts';
import { encodeSmallerGpt } from '../formats/partition-table/gpt.ts';
import { encodeSmallerMbr } from '../formats/partition-table/mbr.ts';
import { requireDisk, requireReplaceable } from '../host-files/given-paths.ts';
import { makePrivateDirectory, publishFile } from '../host-files/private-output.ts';
import { readAt } from '../host-files/read-at.ts';
import { requireRoom } from '../host-files/room.ts';
import { makeSparseFile } from '../host-files/sparse-file.ts';
import { writeAt } from '../host-files/write-at.ts';
import { type ImageInspection, inspectImage } from '../inspect/inspect-image.ts';
import { defineStep, type Step } from '../run/define-step.ts';
import { InvalidOptionsError } from '../run/errors.ts';
import type { StepRunner } from '../run/step.ts';
import { iecSize, path } from '../spec/fields.ts';
import { KIB, MIB, roundUp, SECTOR_BYTES } from '../units.ts';

const STEP = 'shrinkImage';

const schema = z.object({
  /** A raw disk image that nothing uses. Its last partition, or the whole disk, is an ext4. */
  image: path,
  /** Free space that is left in the filesystem; default 0. */
  additionalSpace: iecSize.default(0),
});

export interface ShrinkImageOptions extends z.input<typeof schema> {}

export interface ShrunkImage {
  /** The size of the disk, in bytes. */
  readonly virtualBytes: number;
  /** The partition that became smaller; undefined for a disk without partitions. */
  readonly partition: number | undefined;
  /** The filesystem's size and free space, in bytes. */
  readonly sizeBytes: number;
  readonly freeBytes: number;
}

/** The ext4 at the end of the disk. */
interface Last {
  readonly number: number | undefined;
  readonly offsetBytes: number;
  readonly sizeBytes: number;
  readonly endBytes: number;
}

/** A GPT needs 33 sectors at the end of the disk; with a whole MiB, the size of the disk stays a multiple of that. */
const GPT_TAIL_BYTES = MIB;

/** Shrinks the ext4 at the end of a raw image, its partition, and the image. The disk ends at a whole MiB. The filesystem
 *  is checked and repaired first. An image that cannot become smaller is left as it is. How
 *  small the filesystem becomes is what resize2fs estimates, which is more than its content needs, most for large files.
 *
 *  The smaller image is made beside the image, and replaces it when it is finished.
 *  @throws {InvalidOptionsError} when the image is not raw, or does not end with an ext4.
 *  @throws {ToolFailedError} when the filesystem is damaged.
 *  @see resize2fs(8), e2fsck(8); UEFI specification 5.3 for the GPT. Runs: blkid, e2fsck, filefrag, flock, qemu-img,
 *  resize2fs. */
export const shrinkImage: Step<ShrinkImageOptions, ShrunkImage> = defineStep({
  name: STEP,
  options: schema,
  runs: ['blkid', 'e2fsck', 'filefrag', 'qemu-img', 'resize2fs', 'flock'],
  where: 'host',
  async prepare({ image }) {
    await requireDisk(STEP, image);
    await requireReplaceable(STEP, image, 'image');
    const directory = dirname(await realpath(image));
    await access(directory, constants.W_OK | constants.X_OK).catch((cause: unknown) => {
      throw refusal(`${directory} cannot be written to, and the smaller image is made there`, undefined, cause);
    });
  },
  detail: ({ image }) => image,
  async run(step, { image: given, additionalSpace }) {
    const image = await realpath(given);
    const inspection = await inspectImage({ image }, { executor: step.executor, signal: step.signal });
    const last = requireExt4AtEnd(inspection);
    const { size, blocks, mode, uid, gid } = await stat(image);
    await requireRoom(STEP, dirname(image), 2 * Math.min(size, blocks * SECTOR_BYTES));
    await using work = await makePrivateDirectory(dirname(image));
    const file = join(work.path, 'filesystem');
    await makeSparseFile(file, last.endBytes - last.offsetBytes);
    await spliceSparse(step, { file: image, ...last }, { image: file, offsetBytes: 0 });
    const superblock = () => readExt4Superblock(STEP, file, 0);
    await shrinkFilesystem(step, file, superblock);
    const least = (await superblock()).sizeBytes + additionalSpace;
    let endBytes = Math.min(roundUp(last.offsetBytes + least, MIB), last.endBytes);
    for (;;) {
      await resize(step, file, [`${Math.floor((endBytes - last.offsetBytes) / KIB)}K`]);
      // A larger filesystem has more inodes, which take some of the space.
      const missing = additionalSpace - (await superblock()).freeBytes;
      if (missing <= 0 || endBytes === last.endBytes) break;
      endBytes = Math.min(endBytes + roundUp(missing, MIB), last.endBytes);
    }
    const virtualBytes = Math.min(endBytes + (inspection.table === 'gpt' ? GPT_TAIL_BYTES : 0), size);
    if (virtualBytes < size) {
      const smaller = join(work.path, 'disk');
      await makeSparseFile(smaller, virtualBytes);
      await spliceSparse(step, { file: image, sizeBytes: last.offsetBytes }, { image: smaller, offsetBytes: 0 });
      await spliceSparse(step, { file }, { image: smaller, offsetBytes: last.offsetBytes });
      await moveEnd(image, smaller, inspection, { ...last, endBytes }, virtualBytes);
      await chmod(smaller, mode);
      if (process.getuid?.() === 0) await chown(smaller, uid, gid);
      await publishFile(smaller, image);
    }
    const { sizeBytes, freeBytes } = await readExt4Superblock(STEP, image, last.offsetBytes);
    step.measured(virtualBytes);
    return { virtualBytes, partition: last.number, sizeBytes, freeBytes };
  },
});

function refusal(message: string, hint?: string, cause?: unknown): InvalidOptionsError {
  return new InvalidOptionsError(STEP, [{ path: 'image', message }], { cause, hint });
}

function requireExt4AtEnd(inspection: ImageInspection): Last {
  const { image, format, table, partitions, filesystem, virtualBytes, findings } = inspection;
  if (format !== 'raw')
    throw refusal(`${image} is a ${format}, not a raw disk image`, 'convert it: qemu-img convert -O raw');
  if (table === 'none') {
    if (filesystem?.type === 'ext4')
      return { number: undefined, offsetBytes: 0, sizeBytes: virtualBytes, endBytes: virtualBytes };
    throw refusal(`${image} has no partition table and is not an ext4`);
  }
  const damage = findings.find(({ name }) => name === 'gpt-damaged' || name === 'gpt-primary-damaged');
  if (damage !== undefined)
    throw refusal(
      `${image} has a damaged partition table: ${damage.message}`,
      'repair it: gdisk, or sfdisk --dump and write it again',
    );
  const [last, ...others] = [...partitions].sort((a, b) => b.offsetBytes + b.sizeBytes - a.offsetBytes - a.sizeBytes);
  if (last === undefined) throw refusal(`${image} has no partition`);
  const { number, offsetBytes, sizeBytes, encryption, filesystem: found } = last;
  if (table === 'msdos' && (last.purpose === 'extended' || number > 4))
    throw refusal(`the last partition of ${image} (${number}) is extended or logical, which is not supported`);
  if (encryption !== undefined) throw refusal(`the last partition of ${image} (${number}) is encrypted`);
  if (found?.type !== 'ext4')
    throw refusal(`the last partition of ${image} (${number}) is ${found?.type ?? 'unknown'}, not an ext4`);
  if (others.some((one) => one.offsetBytes + one.sizeBytes > offsetBytes))
    throw refusal(`the last partition of ${image} (${number}) overlaps another one`);
  if (offsetBytes + sizeBytes > virtualBytes) throw refusal(`partition ${number} of ${image} is cut off`);
  return { number, offsetBytes, sizeBytes, endBytes: offsetBytes + sizeBytes };
}

/** Shrinks until resize2fs finds nothing more: what it estimates is less after blocks were moved. */
async function shrinkFilesystem(
  step: StepRunner,
  file: string,
  superblock: () => Promise<{ readonly sizeBytes: number }>,
): Promise<void> {
  for (let before = Number.POSITIVE_INFINITY; ; ) {
    const { sizeBytes } = await superblock();
    if (sizeBytes >= before) return;
    before = sizeBytes;
    await resize(step, file, ['-M']);
  }
}

/** resize2fs cuts off or extends the file, regardless of an offset; therefore the filesystem is alone in it. It requires a
 *  filesystem that was checked since it was last mounted.
 *  @param to a size, or -M for the least */
async function resize(step: StepRunner, file: string, to: readonly string[]): Promise<void> {
  // Status 1 means that errors were corrected.
  await step.tryRun(['e2fsck', '-f', '-p', file], { answers: [1], what: 'the filesystem is damaged' });
  await step.run(['resize2fs', file, ...to], { what: 'cannot resize the filesystem' });
}

/** Writes the partition table of the smaller disk. */
async function moveEnd(
  image: string,
  smaller: string,
  { table, sectorBytes }: ImageInspection,
  { number, offsetBytes, endBytes }: Last,
  diskBytes: number,
): Promise<void> {
  if (number === undefined) return;
  await using from = await open(image, 'r');
  await using to = await open(smaller, 'r+');
  const read: ReadBytes = (at, bytes) => readAt(from, at, bytes);
  if (table === 'msdos') {
    const sectors = (endBytes - offsetBytes) / SECTOR_BYTES;
    await writeAt(to, 0, encodeSmallerMbr(await read(0, SECTOR_BYTES), number, sectors));
    return;
  }
  const partition = { number, lastSector: endBytes / sectorBytes - 1 };
  for (const { offsetBytes: at, bytes } of await encodeSmallerGpt(read, diskBytes, sectorBytes, partition))
    await writeAt(to, at, bytes);
}
