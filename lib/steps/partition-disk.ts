import { randomUUID } from 'node:crypto';
import { open, stat } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { z } from 'zod';
import type { Extent, ReadBytes } from '../formats/extent.ts';
import {
  DETERMINISTIC_DISK_GUID,
  DETERMINISTIC_ROOT_GUID,
  PARTITION_LAYOUTS,
  type PartitionPlan,
  type PartitionRole,
  type PartitionTableType,
  partedScript,
  partitionPlaces,
  type RoleIn,
} from '../formats/layouts.ts';
import { encodeGpt, type Gpt, readGpt } from '../formats/partition-table/gpt.ts';
import { type Mbr, readMbr } from '../formats/partition-table/mbr.ts';
import { gptTypeGuid } from '../formats/partition-table/types.ts';
import { requireDisk } from '../host-files/given-paths.ts';
import { readAt } from '../host-files/read-at.ts';
import { writeAt } from '../host-files/write-at.ts';
import { defineStep, type StepFacts } from '../run/define-step.ts';
import { ImageTooSmallError, InvalidOptionsError, UnexpectedStateError } from '../run/errors.ts';
import type { StepContext } from '../run/step.ts';
import { guid, iecSize, partitionTableType, path, sectorSize } from '../spec/fields.ts';
import { bootSizeRule, sectorSizeRule } from '../spec/layout-rules.ts';
import { MIB, roundUp, SECTOR_BYTES, sectorsToBytes } from '../units.ts';

const STEP = 'partitionDisk';

/** The disk identifier of an msdos table: the first 32 bits of the GUID. */
const MBR_DISK_ID = `0x${DETERMINISTIC_DISK_GUID.slice(0, 8).toLowerCase()}`;

const schema = z.object({
  /** A raw disk image. Its content is lost. */
  image: path,
  partitionTableType: partitionTableType.default('legacy'),
  /** The offset at which the boot partition ends, rounded up to a MiB; default "256M". */
  bootSize: iecSize.default(256 * MIB),
  /** Fixed disk and partition identifiers; default true. */
  deterministic: z.boolean().default(true),
  /** The root partition's GUID if `deterministic` is true; default: that of nixpkgs. */
  rootGPUID: guid.default(DETERMINISTIC_ROOT_GUID),
  /** The size of the disk's logical sectors: 512 or 4096; default 512. 4096 is supported only for the layout
   *  "efi". */
  sectorSize: sectorSize.default(512),
});

export type PartitionDiskOptions<T extends PartitionTableType = PartitionTableType> = Omit<
  z.input<typeof schema>,
  'partitionTableType'
> & {
  /** Default "legacy". */
  readonly partitionTableType?: T | undefined;
};

/** A partition as read back from the disk. */
export interface DiskPartition extends Extent {
  readonly number: number;
  readonly role: PartitionRole;
  /** The size of a sector: 512 or 4096. */
  readonly sectorBytes: 512 | 4096;
  readonly startSectors: number;
  readonly sizeSectors: number;
  /** GPT: the partition's GUID in lower case. msdos: the disk identifier and the number, like the kernel's PARTUUID. */
  readonly partitionUuid: string;
  readonly mountPoint: string | undefined;
  /** The FAT label that make-disk-image gives it; undefined for partitions that are not a FAT. */
  readonly label: string | undefined;
}

/** The root of the layout "none": the disk itself. */
export interface WholeDisk extends Omit<DiskPartition, 'number' | 'partitionUuid'> {
  readonly number: undefined;
  readonly partitionUuid: undefined;
}

/** A disk with partitions. With one of make-disk-image's layouts, its type has exactly the partitions of the layout. */
export type PartitionedDisk<T extends PartitionTableType = PartitionTableType> = PartitionTableType extends T
  ? AnyDisk
  : DiskWith[T];

type DiskWith = {
  readonly [T in PartitionTableType]: {
    readonly table: 'gpt' | 'msdos' | 'none';
    readonly diskId: string | undefined;
    readonly partitions: readonly DiskPartition[];
    readonly root: T extends 'none' ? WholeDisk : DiskPartition;
    readonly esp: 'esp' extends RoleIn<T> ? DiskPartition : undefined;
    readonly xbootldr: 'xbootldr' extends RoleIn<T> ? DiskPartition : undefined;
    readonly boot: 'boot' extends RoleIn<T> ? DiskPartition : undefined;
    readonly biosGrub: 'bios-grub' extends RoleIn<T> ? DiskPartition : undefined;
  };
};

/** A disk with any partitions. */
interface AnyDisk {
  readonly table: 'gpt' | 'msdos' | 'none';
  readonly diskId: string | undefined;
  readonly partitions: readonly DiskPartition[];
  readonly root: DiskPartition | WholeDisk;
  readonly esp: DiskPartition | undefined;
  readonly xbootldr: DiskPartition | undefined;
  readonly boot: DiskPartition | undefined;
  readonly biosGrub: DiskPartition | undefined;
}

/** Arguments of parted that write a layout; units are in the script. */
export function partitionDiskArgs(image: string, type: PartitionTableType, bootSizeBytes: number): string[] {
  return ['parted', '--script', '--align', 'optimal', '--', image, ...partedScript(type, bootSizeBytes)];
}

/** Without these options, sfdisk would wait for the kernel and udev, which do not know the image file. */
const SFDISK = ['sfdisk', '--quiet', '--no-reread', '--no-tell-kernel'];

/** Arguments of each sfdisk command that sets an identifier: that of the disk, and in a GPT those of the partitions.
 *  sgdisk could set all with one command, but it sleeps for a second and silently accepts malformed GUIDs. */
export function fixIdentifiersArgs(image: string, type: PartitionTableType, rootGPUID: string): string[][] {
  const { table, partitions } = PARTITION_LAYOUTS[type];
  const disk = [...SFDISK, '--disk-id', image, table === 'gpt' ? DETERMINISTIC_DISK_GUID : MBR_DISK_ID];
  if (table !== 'gpt') return [disk];
  return [
    disk,
    ...partitions.map((partition) => [
      ...SFDISK,
      '--part-uuid',
      image,
      `${partition.number}`,
      planGuid(partition, rootGPUID),
    ]),
  ];
}

/** The type of each partition of a GPT, as parted chooses it by filesystem and flag. */
const TYPE_NAMES = {
  root: 'linux-generic',
  esp: 'esp',
  xbootldr: 'xbootldr',
  boot: 'linux-generic',
  'bios-grub': 'bios-boot',
  swap: 'swap',
  data: 'linux-generic',
} as const satisfies Readonly<Record<PartitionRole, string>>;

/** Writes a layout on sectors of 4096 bytes. parted and sfdisk read the size of the sectors from a device; in a file, they
 *  take 512. */
async function writeLargeSectors(parsed: z.output<typeof schema>, diskBytes: number): Promise<void> {
  const { image, partitionTableType: type, bootSize, deterministic, rootGPUID, sectorSize: sectorBytes } = parsed;
  const places = partitionPlaces(type, bootSize, diskBytes);
  const partitions = PARTITION_LAYOUTS[type].partitions.map((plan, index) => {
    const { offsetBytes = 0, sizeBytes = 0 } = places[index] ?? {};
    return {
      ...{ number: plan.number, type: gptTypeGuid(TYPE_NAMES[plan.role]), name: plan.name },
      guid: deterministic ? planGuid(plan, rootGPUID) : randomUUID(),
      firstSector: offsetBytes / sectorBytes,
      lastSector: (offsetBytes + sizeBytes) / sectorBytes - 1,
    };
  });
  const diskId = deterministic ? DETERMINISTIC_DISK_GUID : randomUUID();
  await using disk = await open(image, 'r+');
  for (const { offsetBytes, bytes } of encodeGpt(diskBytes, sectorBytes, diskId, partitions))
    await writeAt(disk, offsetBytes, bytes);
}

/** Writes one of make-disk-image's seven layouts to a raw image, and reads it back.
 *  @returns every partition in sectors and bytes, as read back.
 *  @throws {ImageTooSmallError} when the disk is too small for the layout.
 *  @throws {UnexpectedStateError} when the partition table that is read back differs from the requested one.
 *  @see parted(8), sfdisk(8); UEFI specification 5.3 for sectors of 4096 bytes. Runs: parted, sfdisk. */
export const partitionDisk = defineStep({
  name: STEP,
  options: schema,
  rules: [bootSizeRule, sectorSizeRule],
  runs: ['parted', 'sfdisk'],
  where: 'host',
  async prepare({ image }) {
    await requireDisk(STEP, image);
  },
  detail: ({ partitionTableType: type }) => type,
  async run(step, parsed) {
    const { partitionTableType: type } = parsed;
    const { size } = await stat(parsed.image);
    const layout = PARTITION_LAYOUTS[type];
    if (layout.table === 'none') return wholeDisk(size);
    const least = Math.max(layout.usesBootSize ? roundUp(parsed.bootSize, MIB) : 2 * MIB, 2 * MIB) + 2 * MIB;
    if (size < least)
      throw new ImageTooSmallError(
        STEP,
        parsed.image,
        { neededBytes: least, availableBytes: size },
        { hint: 'set a larger diskSize or a smaller bootSize' },
      );
    if (parsed.sectorSize !== SECTOR_BYTES) {
      if (size % parsed.sectorSize !== 0)
        throw new InvalidOptionsError(STEP, [
          { path: 'image', message: `has ${size} bytes, which is not a multiple of sectorSize ${parsed.sectorSize}` },
        ]);
      await writeLargeSectors(parsed, size);
      const written = await readPartitions(parsed.image, type, parsed.sectorSize);
      if (parsed.deterministic) checkIdentifiers(written, type, parsed.rootGPUID);
      return written;
    }
    // A relative name with "./": parted and sfdisk do not support "--" before a name with a leading dash.
    const cwd = dirname(parsed.image);
    const name = `./${basename(parsed.image)}`;
    await step.run(partitionDiskArgs(name, type, parsed.bootSize), {
      cwd,
      what: `cannot write the ${type} layout to ${parsed.image}`,
    });
    if (parsed.deterministic)
      for (const argv of fixIdentifiersArgs(name, type, parsed.rootGPUID)) await step.run(argv, { cwd });
    const disk = await readPartitions(parsed.image, type, SECTOR_BYTES);
    if (parsed.deterministic) checkIdentifiers(disk, type, parsed.rootGPUID);
    return disk;
  },
}) as PartitionDisk;

type PartitionDisk = StepFacts &
  (<T extends PartitionTableType = 'legacy'>(
    options: PartitionDiskOptions<T>,
    context?: StepContext,
  ) => Promise<PartitionedDisk<T>>);

function planGuid(partition: PartitionPlan, rootGPUID: string): string {
  const isPreset = rootGPUID.toUpperCase() === DETERMINISTIC_ROOT_GUID;
  if (partition.role === 'root' && !isPreset) return rootGPUID;
  return partition.guid ?? rootGPUID;
}

async function readPartitions(
  image: string,
  type: PartitionTableType,
  sectorBytes: 512 | 4096,
): Promise<PartitionedDisk> {
  const layout = PARTITION_LAYOUTS[type];
  const found = await readTable(image, layout.table, sectorBytes);
  const unexpected = (what: string): UnexpectedStateError =>
    new UnexpectedStateError(STEP, `the partition table of ${image} differs from what was written`, {
      expected: `${layout.table} with ${layout.partitions.length} partitions`,
      found: what,
    });
  if (typeof found === 'string') throw unexpected(`a table that ${found}`);
  if (found.partitions.length !== layout.partitions.length) throw unexpected(`${found.partitions.length} partitions`);
  const partitions = layout.partitions.map(({ number, role, mountPoint, label }): DiskPartition => {
    const partition = found.partitions.find((one) => one.number === number);
    if (partition === undefined) throw unexpected(`no partition ${number}`);
    const { startSectors, sizeSectors, offsetBytes, sizeBytes, partitionUuid } = partition;
    const place = { sectorBytes, startSectors, sizeSectors, offsetBytes, sizeBytes };
    return { number, role, ...place, partitionUuid, mountPoint, label };
  });
  return namedPartitions(layout.table, found.diskId, partitions);
}

/** Reads the partition table. @returns a description of the problem when it is invalid, phrased to follow "a table
 *  that". */
async function readTable(
  image: string,
  table: 'gpt' | 'msdos' | 'none',
  sectorBytes: number,
): Promise<Gpt | Mbr | string> {
  await using disk = await open(image, 'r');
  const read: ReadBytes = (offsetBytes, bytes) => readAt(disk, offsetBytes, bytes);
  if (table === 'gpt') return await readGpt(read, 1, sectorBytes);
  return (await readMbr(read, await read(0, SECTOR_BYTES))) ?? 'is not an MBR';
}

function checkIdentifiers(disk: PartitionedDisk, type: PartitionTableType, rootGPUID: string): void {
  const expectDisk = disk.table === 'gpt' ? DETERMINISTIC_DISK_GUID.toLowerCase() : MBR_DISK_ID.replace(/^0x/, '');
  if (disk.diskId !== expectDisk)
    throw new UnexpectedStateError(STEP, 'the disk identifier was not written', {
      expected: expectDisk,
      found: disk.diskId ?? 'none',
    });
  if (disk.table !== 'gpt') return;
  for (const plan of PARTITION_LAYOUTS[type].partitions) {
    const expected = planGuid(plan, rootGPUID).toLowerCase();
    const found = disk.partitions.find((partition) => partition.number === plan.number)?.partitionUuid;
    if (found !== expected)
      throw new UnexpectedStateError(STEP, `the GUID of partition ${plan.number} was not written`, {
        expected,
        found: found ?? 'none',
      });
  }
}

function wholeDisk(sizeBytes: number): PartitionedDisk {
  const root: WholeDisk = {
    number: undefined,
    role: 'root',
    sectorBytes: SECTOR_BYTES,
    startSectors: 0,
    sizeSectors: Math.floor(sizeBytes / sectorsToBytes(1)),
    offsetBytes: 0,
    sizeBytes,
    partitionUuid: undefined,
    mountPoint: '/',
    label: undefined,
  };
  return namedPartitions('none', undefined, [], root);
}

function namedPartitions(
  table: PartitionedDisk['table'],
  diskId: string | undefined,
  partitions: readonly DiskPartition[],
  whole?: WholeDisk,
): PartitionedDisk {
  const withRole = (role: PartitionRole): DiskPartition | undefined =>
    partitions.find((partition) => partition.role === role);
  const root = whole ?? withRole('root');
  if (root === undefined) throw new UnexpectedStateError(STEP, 'the layout has no root partition');
  return {
    table,
    diskId,
    partitions,
    root,
    esp: withRole('esp'),
    xbootldr: withRole('xbootldr'),
    boot: withRole('boot'),
    biosGrub: withRole('bios-grub'),
  } as PartitionedDisk;
}
