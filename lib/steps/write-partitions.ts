import { randomUUID } from 'node:crypto';
import { open, stat } from 'node:fs/promises';
import { z } from 'zod';
import { type PartitionRole, rolesOf } from '../formats/layouts.ts';
import { encodeGpt, GPT_ENTRIES, gptSpace, readGpt } from '../formats/partition-table/gpt.ts';
import { requireDisk } from '../host-files/given-paths.ts';
import { readAt } from '../host-files/read-at.ts';
import { writeAt } from '../host-files/write-at.ts';
import { defineStep, type Step } from '../run/define-step.ts';
import { ImageTooSmallError, InvalidOptionsError, UnexpectedStateError } from '../run/errors.ts';
import { fatLabel, guid, iecSize, path, sectorSize } from '../spec/fields.ts';
import { alignment, gptAttributes, gptName, gptType, mountPoint } from '../spec/partitions-spec.ts';
import { MIB, roundDown, roundUp } from '../units.ts';
import type { DiskPartition, PartitionedDisk } from './partition-disk.ts';

const STEP = 'writePartitions';

const schema = z.object({
  /** A raw disk image. Its content is lost. */
  image: path,
  /** The partitions in their order on the disk. `type` is a name of the Discoverable Partitions Specification ("esp", "home") or a
   *  GUID; `size` is rounded up to a multiple of `alignment` (default 1 MiB), at which the
   *  partition begins, and the one without a size gets what is left. `padding` is free space after it. `mountPoint`, and the `label` of a FAT, are not
   *  written: they are in the result, for installGrub and installSystemdBoot. */
  partitions: z
    .array(
      z.strictObject({
        type: gptType,
        name: gptName.default(''),
        uuid: guid.optional(),
        alignment: alignment.default(MIB),
        padding: iecSize.default(0),
        size: iecSize.refine((bytes) => bytes > 0, { error: 'must be more than 0' }).optional(),
        attributes: gptAttributes.default([]),
        mountPoint: mountPoint.optional(),
        label: fatLabel.optional(),
      }),
    )
    .min(1, 'must name at least one partition')
    .max(GPT_ENTRIES, `must not name more than ${GPT_ENTRIES} partitions`)
    .readonly(),
  /** The GUID of the disk; default: random. */
  diskId: guid.optional(),
  /** The size of the disk's logical sectors: 512 or 4096; default 512. */
  sectorSize: sectorSize.default(512),
});

export interface WritePartitionsOptions extends z.input<typeof schema> {}

/** The partitions by what they are for, where there are such. */
export interface WrittenDisk extends Omit<PartitionedDisk, 'root'> {
  readonly root: DiskPartition | undefined;
}

/** Writes a GPT with any partitions to a raw image, and reads it back. The first partition is at 1 MiB, and each one follows
 *  another.
 *  @returns every partition in sectors and bytes, as read back.
 *  @throws {ImageTooSmallError} when the disk is too small for the partitions.
 *  @throws {UnexpectedStateError} when the partition table that is read back differs from the requested one.
 *  @see UEFI specification 5.3; The Discoverable Partitions Specification. Runs: nothing. */
export const writePartitions: Step<WritePartitionsOptions, WrittenDisk> = defineStep({
  name: STEP,
  options: schema,
  rules: [
    ({ partitions = [] }) =>
      partitions.flatMap(({ size }, index) =>
        size === undefined && partitions.findIndex((one) => one.size === undefined) < index
          ? [{ path: `partitions[${index}].size`, message: 'is required: only one partition gets what is left' }]
          : [],
      ),
  ],
  runs: [],
  where: 'host',
  async prepare({ image, sectorSize: sectorBytes }) {
    await requireDisk(STEP, image);
    const { size } = await stat(image);
    if (size % sectorBytes !== 0)
      throw new InvalidOptionsError(STEP, [
        { path: 'image', message: `has ${size} bytes, which is not a multiple of ${sectorBytes}` },
      ]);
  },
  detail: ({ partitions }) => `${partitions.length} partitions`,
  async run(_step, { image, partitions: given, diskId, sectorSize: sectorBytes }) {
    await using disk = await open(image, 'r+');
    const { size: diskBytes } = await disk.stat();
    const { startBytes, endBytes } = gptSpace(diskBytes, sectorBytes);
    // The one without a size gets the rest.
    const place = (leftBytes: number): { readonly offsetBytes: number; readonly endBytes: number }[] => {
      let at = startBytes;
      return given.map(({ size = leftBytes, alignment: grain, padding }) => {
        const offsetBytes = roundUp(at, grain);
        const end = offsetBytes + roundUp(size, grain);
        at = end + padding;
        return { offsetBytes, endBytes: end };
      });
    };
    const rest = given.find(({ size }) => size === undefined);
    const least = place(rest?.alignment ?? 0).at(-1)?.endBytes ?? 0;
    if (least > endBytes)
      throw new ImageTooSmallError(
        STEP,
        image,
        { neededBytes: roundUp(least + (diskBytes - endBytes), MIB), availableBytes: diskBytes },
        { hint: 'make the disk larger, or its partitions smaller' },
      );
    const grain = rest?.alignment ?? MIB;
    const planned = place(roundDown(endBytes - least, grain) + grain).map((placed, index) => {
      const { type = '', name = '', uuid = randomUUID(), attributes = [] } = given[index] ?? {};
      const [firstSector, lastSector] = [placed.offsetBytes / sectorBytes, placed.endBytes / sectorBytes - 1];
      return { number: index + 1, type, name, guid: uuid, firstSector, lastSector, attributes };
    });
    for (const piece of encodeGpt(diskBytes, sectorBytes, diskId ?? randomUUID(), planned))
      await writeAt(disk, piece.offsetBytes, piece.bytes);
    const found = await readGpt((at, bytes) => readAt(disk, at, bytes), 1, sectorBytes);
    const differs = (what: string): UnexpectedStateError =>
      new UnexpectedStateError(STEP, `the partition table of ${image} differs from what was written`, {
        expected: `a GPT with ${given.length} partitions`,
        found: what,
      });
    if (typeof found === 'string') throw differs(`a table that ${found}`);
    if (found.partitions.length !== given.length) throw differs(`${found.partitions.length} partitions`);
    const partitions = found.partitions.map(
      ({ number, startSectors, sizeSectors, offsetBytes: at, sizeBytes, partitionUuid }, index): DiskPartition => {
        const { mountPoint: mounted, label } = given[index] ?? {};
        const place = { sectorBytes, startSectors, sizeSectors, offsetBytes: at, sizeBytes };
        return { number, role: 'data', ...place, partitionUuid, mountPoint: mounted, label };
      },
    );
    return withRoles(
      found.diskId,
      partitions,
      given.map(({ type }) => type),
    );
  },
});

/** Names the partitions that boot loaders ask for. */
function withRoles(diskId: string, partitions: readonly DiskPartition[], types: readonly string[]): WrittenDisk {
  const roles = rolesOf(
    partitions.map(({ mountPoint: at, label }, index) => ({
      type: types[index] ?? '',
      mountPoint: at,
      isFat: label !== undefined,
    })),
  );
  const all = partitions.map((one, index) => ({ ...one, role: roles[index] ?? one.role }));
  const withRole = (role: PartitionRole): DiskPartition | undefined => all.find((one) => one.role === role);
  return {
    ...{ table: 'gpt', diskId, partitions: all, root: withRole('root'), esp: withRole('esp') },
    ...{ xbootldr: withRole('xbootldr'), boot: withRole('boot'), biosGrub: withRole('bios-grub') },
  };
}
