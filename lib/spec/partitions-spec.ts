import { createHash } from 'node:crypto';
import { basename, posix } from 'node:path';
import { z } from 'zod';
import {
  DEFAULT_COMPRESSION,
  PACKED_FILESYSTEMS,
  PACKED_LABEL_BYTES,
  type PackedFilesystem,
} from '../filesystem/packed-filesystem.ts';
import { LABEL_BYTES, ROOT_FILESYSTEMS, type RootFilesystem } from '../filesystem/root-filesystem.ts';
import type { Subvolume } from '../filesystem/subvolumes.ts';
import { formatUuid } from '../formats/guid.ts';
import {
  DETERMINISTIC_DISK_GUID,
  DETERMINISTIC_ROOT_GUID,
  type LayoutPartition,
  type PartitionRole,
  rolesOf,
} from '../formats/layouts.ts';
import { GPT_ENTRIES } from '../formats/partition-table/gpt.ts';
import type { Sharer } from '../formats/partition-table/share.ts';
import { GPT_TYPES, gptTypeGuid, gptTypeName, purposeOf } from '../formats/partition-table/types.ts';
import { nearestWord } from '../run/did-you-mean.ts';
import { GIB, KIB, MIB } from '../units.ts';
import { absolutePath, fatLabel, filesystemLabel, guid, iecSize, path, volumeId } from './fields.ts';
import { systemPartition } from './layout.ts';
import { subvolumePath } from './subvolumes.ts';

/** The user's own partitions, instead of one of make-disk-image's layouts. */

const PARTITION_FILESYSTEMS = [...ROOT_FILESYSTEMS, ...PACKED_FILESYSTEMS, 'vfat', 'swap', 'none'] as const;
export type PartitionFilesystem = (typeof PARTITION_FILESYSTEMS)[number];

/** Whether a filesystem is written once, as large as its files need, and only read afterwards. */
export function isPacked(filesystem: PartitionFilesystem): filesystem is PackedFilesystem {
  return PACKED_FILESYSTEMS.some((type) => type === filesystem);
}

/** Whether a filesystem is for the files of a Linux system that writes to it. */
export function isWritable(filesystem: PartitionFilesystem): filesystem is RootFilesystem {
  return ROOT_FILESYSTEMS.some((type) => type === filesystem);
}

/** Attribute bits by name. @see The Discoverable Partitions Specification, "Partition Flags" */
const ATTRIBUTES = { 'grow-file-system': 59, 'read-only': 60, 'no-auto': 63 } as const;

/** The GUID of an entry that is not used. */
const UNUSED = /^[0-]+$/;

/** A partition type of a GPT, parsed to its GUID in lower case. */
export const gptType = z.string().transform((type, context) => {
  if (guid.safeParse(type).success && !UNUSED.test(type)) return type.toLowerCase();
  if (GPT_TYPES.includes(type)) return gptTypeGuid(type);
  const meant = GPT_TYPES.includes(`${type}-x86-64`) ? `${type}-x86-64` : nearestWord(type, GPT_TYPES);
  context.addIssue({
    code: 'custom',
    message: `${JSON.stringify(type)} is not a partition type${meant === undefined ? '' : `; did you mean "${meant}"?`}; use a name of the Discoverable Partitions Specification such as "esp" or "home", or a GUID`,
  });
  return z.NEVER;
});

/** The name of a partition in a GPT, of which udev makes a link in /dev/disk/by-partlabel. */
export const gptName = z
  .string()
  .max(36, 'is longer than the 36 characters of a name in a GPT')
  .refine((name) => !/\p{Cc}/u.test(name), 'must not contain control characters');

export const gptAttributes = z
  .array(
    z.union([z.enum(Object.keys(ATTRIBUTES) as (keyof typeof ATTRIBUTES)[]), z.int().min(0).max(63)], {
      error: `must be the number of a bit, or one of ${Object.keys(ATTRIBUTES).join(', ')}`,
    }),
  )
  .transform((given) => given.map((one) => (typeof one === 'number' ? one : ATTRIBUTES[one])));

/** Where a partition is mounted. */
export const mountPoint = absolutePath.refine((at) => posix.resolve(at) === at, {
  error: 'must be a path without "..", "//" and a slash at its end',
});

/** Where a partition may begin, and of what its size is a multiple. */
export const alignment = iecSize.refine((bytes) => bytes > 0 && bytes % (4 * KIB) === 0 && bytes <= GIB, {
  error: 'must be a multiple of 4K, and at most 1G',
});

/** Free space after a partition. */
const padding = z.strictObject({
  size: iecSize.default(0),
  maxSize: iecSize.optional(),
  weight: z.int().min(0).max(1_000_000).default(0),
});

const partitionSpec = z.strictObject({
  type: gptType.optional(),
  name: gptName.optional(),
  uuid: guid.refine((uuid) => !UNUSED.test(uuid), { error: 'must not be zero' }).optional(),
  size: z.union([z.literal('auto'), iecSize], { error: 'must be "auto", or an IEC size such as "2G"' }).default('auto'),
  additionalSpace: iecSize.optional(),
  maxSize: iecSize.optional(),
  weight: z.int().min(0).max(1_000_000).optional(),
  alignment: alignment.default(MIB),
  padding: padding.optional(),
  filesystem: z.enum(PARTITION_FILESYSTEMS).optional(),
  compression: z.string().optional(),
  compressionLevel: z.int().optional(),
  label: filesystemLabel.optional(),
  filesystemUuid: z.string().optional(),
  mountPoint: mountPoint.optional(),
  subvolumes: z
    .array(z.strictObject({ path: subvolumePath, mountPoint: mountPoint.optional() }))
    .min(1, 'must name at least one subvolume')
    .optional(),
  populateFrom: path.optional(),
  attributes: gptAttributes.default([]),
});

export const partitionsSpec = z
  .array(partitionSpec)
  .min(1, 'must name at least one partition')
  .max(GPT_ENTRIES, `must not name more than ${GPT_ENTRIES} partitions`);

export type PartitionSpec = z.output<typeof partitionSpec>;

/** A subvolume of a partition with a btrfs. */
interface OwnSubvolume {
  /** Without a leading slash. */
  readonly path: string;
  readonly mountPoint: string | undefined;
}

/** One of the user's partitions, completed with defaults. Where subvolumes are mounted, its mount point is the one above all others. */
export interface OwnPartition extends LayoutPartition {
  /** Only of a btrfs. */
  readonly subvolumes: readonly OwnSubvolume[];
  /** A GUID, lower case. */
  readonly type: string;
  /** Its GUID in the table; undefined for a random one. */
  readonly uuid: string | undefined;
  /** Undefined for the size that its content needs. */
  readonly sizeBytes: number | undefined;
  /** Free space beyond the content if the size is "auto"; undefined for the image's. */
  readonly additionalSpace: number | undefined;
  /** Undefined for no limit. */
  readonly maxBytes: number | undefined;
  /** Its share of a given diskSize. */
  readonly weight: number;
  readonly alignmentBytes: number;
  /** Free space after it. */
  readonly padding: Sharer;
  readonly filesystem: PartitionFilesystem;
  readonly filesystemLabel: string;
  /** Undefined for a random one. For a FAT, its volume ID. */
  readonly filesystemUuid: string | undefined;
  /** A directory whose contents it gets. */
  readonly populateFrom: string | undefined;
  /** Undefined for a filesystem that is not packed. */
  readonly compression: string | undefined;
  /** Undefined for the compression's default. */
  readonly compressionLevel: number | undefined;
  /** The numbers of attribute bits. */
  readonly attributes: readonly number[];
}

/** Sizes where the specification names none, and the content does not decide: a FAT is for kernels of later
 *  generations, a BIOS boot partition for GRUB's core image. */
const DEFAULT_FAT_BYTES = 256 * MIB;
const BIOS_BOOT_BYTES = MIB;

/** Completes the partitions with defaults. With `deterministic`, identifiers are derived from a partition's number. */
export function ownPartitions(given: readonly PartitionSpec[], deterministic: boolean): OwnPartition[] {
  const described = given.map((one) => filesystemOf({ ...one, mountPoint: highestMountPoint(one) }));
  const roles = rolesOf(
    described.map(({ spec, type, filesystem }) => ({
      ...{ type, mountPoint: spec.mountPoint, isFat: filesystem === 'vfat' },
    })),
  );
  const weighs = given.some(({ weight }) => weight !== undefined);
  const system = systemPartition(
    described.map(({ spec }, index) => ({ index, mountPoint: spec.mountPoint, role: roles[index] ?? 'data' })),
  );
  return described.map(({ spec, type, filesystem }, index) => {
    const number = index + 1;
    const { mountPoint: at } = spec;
    const role = roles[index] ?? 'data';
    const derived = (what: string, preset: string | undefined): string | undefined =>
      preset ?? (deterministic ? derivedGuid(`${what} ${number}`) : undefined);
    const ofRoot = role === 'root' && deterministic ? DETERMINISTIC_ROOT_GUID : undefined;
    const filesystemUuid = filesystem === 'squashfs' ? undefined : derived('filesystem', spec.filesystemUuid ?? ofRoot);
    const label = spec.label ?? labelFor(role, filesystem, at);
    const preset = role === 'bios-grub' ? BIOS_BOOT_BYTES : filesystem === 'vfat' ? DEFAULT_FAT_BYTES : undefined;
    return {
      ...{ number, role, type, mountPoint: at, filesystem, filesystemLabel: label },
      subvolumes: (spec.subvolumes ?? []).map(({ path: of, mountPoint: on }) => ({ path: of, mountPoint: on })),
      name: spec.name ?? gptTypeName(type) ?? '',
      label: filesystem === 'vfat' ? label : undefined,
      uuid: derived('partition', spec.uuid ?? ofRoot),
      sizeBytes: spec.size === 'auto' ? preset : spec.size,
      maxBytes: spec.maxSize,
      alignmentBytes: spec.alignment,
      padding: {
        leastBytes: spec.padding?.size ?? 0,
        ...{ mostBytes: spec.padding?.maxSize, weight: spec.padding?.weight ?? 0 },
      },
      additionalSpace: spec.additionalSpace,
      weight: spec.weight ?? (index === system?.index && isWritable(filesystem) && !weighs ? 1 : 0),
      filesystemUuid: filesystem === 'vfat' ? filesystemUuid?.replaceAll('-', '').slice(0, 8) : filesystemUuid,
      populateFrom: spec.populateFrom,
      compression: spec.compression ?? (isPacked(filesystem) ? DEFAULT_COMPRESSION[filesystem] : undefined),
      compressionLevel: spec.compressionLevel,
      attributes: spec.attributes,
    };
  });
}

/** Where the filesystem is mounted, or the subvolume of it that is mounted above the others. */
function highestMountPoint({ mountPoint: top, subvolumes = [] }: PartitionSpec): string | undefined {
  const all = [top, ...subvolumes.map((one) => one.mountPoint)].filter((at) => at !== undefined);
  return all.sort((a, b) => a.length - b.length)[0];
}

/** The subvolumes of a partition, as makeFilesystem takes them. */
export function subvolumesIn({ subvolumes, mountPoint: top = '/' }: OwnPartition): Subvolume[] {
  return subvolumes.map(({ path: of, mountPoint: at }) => ({
    path: of,
    directory: at === undefined ? undefined : posix.resolve('/', posix.relative(top, at)),
  }));
}

interface Described {
  readonly spec: PartitionSpec;
  readonly type: string;
  readonly filesystem: PartitionFilesystem;
}

function filesystemOf(spec: PartitionSpec): Described {
  const { type = gptTypeGuid(spec.filesystem === 'swap' ? 'swap' : 'linux-generic') } = spec;
  const purpose = purposeOf(gptTypeName(type));
  const holdsFiles = spec.mountPoint !== undefined || spec.populateFrom !== undefined;
  const {
    filesystem = purpose === 'esp' || purpose === 'xbootldr'
      ? 'vfat'
      : purpose === 'swap'
        ? 'swap'
        : spec.subvolumes !== undefined
          ? 'btrfs'
          : holdsFiles
            ? 'ext4'
            : 'none',
  } = spec;
  return { spec, type, filesystem };
}

function labelFor(role: PartitionRole, filesystem: PartitionFilesystem, at: string | undefined): string {
  if (filesystem === 'squashfs') return '';
  if (role === 'root') return 'nixos';
  if (role === 'esp') return 'ESP';
  if (role === 'xbootldr' || role === 'boot') return 'BOOT';
  if (filesystem === 'swap') return 'swap';
  const name = basename(at ?? '').replace(/[^A-Za-z0-9_-]/g, '') || 'data';
  return (filesystem === 'vfat' ? name.toUpperCase() : name).slice(0, MOST_LABEL_BYTES[filesystem]);
}

const MOST_LABEL_BYTES: Readonly<Record<PartitionFilesystem, number>> = {
  ...LABEL_BYTES,
  ...PACKED_LABEL_BYTES,
  vfat: 11,
  swap: 15,
  none: 0,
};

/** An identifier that is the same each time. */
function derivedGuid(what: string): string {
  const bytes = createHash('sha256').update(`${DETERMINISTIC_DISK_GUID}/${what}`).digest().subarray(0, 16);
  // Version 8, for identifiers of one's own. @see RFC 9562, 5.8
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x80, 6);
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
  return formatUuid(bytes).toUpperCase();
}

const NOT_IN_SQUASHFS = '"squashfs" has neither a label nor a UUID: set name or uuid, which are in the partition table';

/** Whether a label or a UUID is right for a filesystem; the message if it is not. */
export function problemWithLabel(filesystem: PartitionFilesystem, label: string): string | undefined {
  if (filesystem === 'vfat') return fatLabel.safeParse(label).error?.issues[0]?.message;
  if (filesystem === 'none') return 'needs a filesystem';
  if (filesystem === 'squashfs') return NOT_IN_SQUASHFS;
  const most = MOST_LABEL_BYTES[filesystem];
  return Buffer.byteLength(label) > most ? `is longer than the ${most} bytes of ${filesystem}'s label` : undefined;
}

export function problemWithUuid(filesystem: PartitionFilesystem, uuid: string): string | undefined {
  if (filesystem === 'none') return 'needs a filesystem';
  if (filesystem === 'squashfs') return NOT_IN_SQUASHFS;
  return (filesystem === 'vfat' ? volumeId : guid).safeParse(uuid).error?.issues[0]?.message;
}
