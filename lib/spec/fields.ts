import { posix } from 'node:path';
import { z } from 'zod';
import type { TreeEntry } from '../filesystem/tree.ts';
import { holdsAttribute } from '../formats/ext4/attributes.ts';
import { PARTITION_TABLE_TYPES } from '../formats/layouts.ts';
import { STORE_PATH } from '../nix/store.ts';
import { GIB, KIB, MIB, parseIecSize } from '../units.ts';

/** Schemas of option values that several steps share. */

/** An IEC size or a number of bytes, parsed to bytes. */
export const iecSize = z
  .union([z.string(), z.number()], { error: 'must be an IEC size such as "512M", or a number of bytes' })
  .transform((size, context) => {
    const bytes = parseIecSize(size);
    if (bytes !== undefined) return bytes;
    context.addIssue({
      code: 'custom',
      message: `${JSON.stringify(size)} is not a size; use an IEC size such as "512M" or "1.5G", or a number of bytes`,
    });
    return z.NEVER;
  });

/** A number of MiB, as in make-disk-image, or an IEC size with a unit, rounded up to MiB. */
export const mebibytes = z
  .union([z.int().positive(), z.string()], { error: 'must be a number of MiB, or an IEC size such as "20G"' })
  .transform((size, context) => {
    if (typeof size === 'number') return size;
    // A string without a unit is refused: elsewhere it means bytes, but here it would mean MiB.
    const bytes = /[a-z]/i.test(size) ? parseIecSize(size) : undefined;
    if (bytes !== undefined && bytes > 0) return Math.ceil(bytes / MIB);
    context.addIssue({
      code: 'custom',
      message: `${JSON.stringify(size)} is not a size; use an IEC size such as "20G", or a number of MiB without quotes`,
    });
    return z.NEVER;
  });

/** A path: not empty, and without NUL, which system calls do not accept. */
export const path = z
  .string()
  .min(1, 'must not be empty')
  .refine((text) => !text.includes('\0'), 'must not contain a NUL character');

/** An AbortSignal. Not checked with `instanceof`, so that one of another realm is accepted. */
export const abortSignal = z.custom<AbortSignal>(
  (value) => typeof value === 'object' && value !== null && 'aborted' in value && 'addEventListener' in value,
  'must be an AbortSignal',
);

/** An absolute path. */
export const absolutePath = path.refine((text) => text.startsWith('/'), 'must be an absolute path');

/** The size of a disk's logical sectors, in bytes. */
export const sectorSize = z.literal([512, 4096], { error: 'must be 512 or 4096' });

/** A GUID in its usual form. Partitioning tools accept malformed GUIDs silently, and write something else. */
export const guid = z
  .string()
  .regex(
    /^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$/,
    'must be a GUID such as "F222513B-DED1-49FA-B591-20CE86A2FE7F"',
  );

/** The GUID that an entry of a Secure Boot database has for its owner; sbctl keeps one in its file GUID. */
export const keyOwner = guid.default('7b2a9d0e-53c1-4d8a-9d1c-6f0b54e3a1c7');

const labelOf = (filesystem: string, maxBytes: number) =>
  z
    .string()
    .min(1, 'must not be empty')
    .regex(/^[\x20-\x7e]*$/, 'must be printable ASCII')
    .refine(
      (label) => Buffer.byteLength(label) <= maxBytes,
      `is longer than the ${maxBytes} bytes of ${filesystem}'s label`,
    );

/** The label of any root filesystem; its actual maximum length depends on the type. */
export const filesystemLabel = labelOf('a filesystem', 255);
export const luksLabel = labelOf('a LUKS header', 47);
export const swapLabel = labelOf('swap', 15);
export const fatLabel = labelOf('FAT', 11).refine(
  (label) => !/["*+,./:;<=>?[\\\]|]/.test(label),
  'contains a character that is not allowed in FAT labels',
);

/** A FAT volume ID, with or without the dash. */
export const volumeId = z
  .string()
  .regex(/^[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}$/, 'must be 8 hexadecimal digits, such as "ABCD1234" or "ABCD-1234"')
  .transform((id) => id.replace('-', ''));

/** Seconds since 1970-01-01, like SOURCE_DATE_EPOCH, that fit into 32 bits. */
export const timestamp = z.int().min(0).max(0xffff_ffff);

/** A file mode as chmod(1) accepts it: octal (`"755"`, `"4755"`) or symbolic (`"u=rw,go=r"`). */
const fileMode = z
  .string()
  .regex(
    /^([0-7]{3,4}|[ugoa]*[-+=][rwxXst]*(,[ugoa]*[-+=][rwxXst]*)*)$/,
    'must be a mode such as "755" or "u=rw,go=r"',
  );

/** A user or group name, as useradd(8) and userborn accept it, or a number. */
const ownerName = z
  .string()
  .regex(/^([a-z_][a-z0-9_.-]{0,31}\$?|\d{1,10})$/i, 'must be a user or group name, or a number');

export const partitionTableType = z.enum(PARTITION_TABLE_TYPES);

/** A partition as partitionDisk returns it, with the fields that steps need. */
export const partitionExtent = z.object({
  offsetBytes: z.int().min(0),
  sizeBytes: z.int().positive(),
});

const mountedExtent = partitionExtent.extend({ mountPoint: z.string().optional() });

/** A disk as partitionDisk returns it, with the fields that steps need. */
export const partitionedDisk = z.object({
  table: z.enum(['gpt', 'msdos', 'none']),
  partitions: z.array(mountedExtent).readonly(),
  esp: mountedExtent.optional(),
  biosGrub: partitionExtent.optional(),
});

/** Store paths in a store of this host, for listTree. */
export const closureSource = z.strictObject({
  store: path.optional(),
  storePaths: z.array(z.string().regex(STORE_PATH, 'must be a store path such as /nix/store/HASH-NAME')).readonly(),
  mountPoint: z.enum(['/', '/nix', '/nix/store']).optional(),
  atRoot: z.boolean().optional(),
});

/** Generations of the system profile, the default last. */
export const generations = z
  .array(
    z.strictObject({
      number: z.int().positive(),
      toplevel: z.string().regex(STORE_PATH, 'must be a store path such as /nix/store/HASH-nixos-system-NAME'),
    }),
  )
  .min(1, 'must name at least one generation')
  .readonly();

/** How long a loader's menu waits, in seconds; "none": until a key is pressed, like NixOS's `boot.loader.timeout =
 *  null`. */
export const menuTimeout = z.union([z.int().min(0).max(65_535), z.literal('none')], {
  error: 'must be a number of seconds up to 65535, or "none"',
});

/** A file with a secret, which must not be readable for everybody, as everything in the Nix store is. */
export const secretFile = path.refine((file) => !posix.resolve(file).startsWith('/nix/store/'), {
  error: 'is in the Nix store, which everybody can read; keep secrets elsewhere',
});

/** How a passphrase becomes a key. The default of cryptsetup measures the host, and may take more memory than the machine has that boots
 *  the image.
 *  @see cryptsetup-luksFormat(8), --pbkdf */
export const keyDerivation = z.strictObject({
  type: z.enum(['argon2id', 'pbkdf2']).default('argon2id'),
  /** argon2id only; default 256 MiB. */
  memory: iecSize
    .refine((bytes) => bytes >= 32 * KIB && bytes <= 4 * GIB && bytes % KIB === 0, {
      error: 'must be 32K to 4G, in whole KiB',
    })
    .optional(),
  /** Default 4 for argon2id, 1,000,000 for pbkdf2. */
  iterations: z
    .int()
    .min(1)
    .max(2 ** 31 - 1)
    .optional(),
  /** argon2id only; default 4. */
  threads: z.int().min(1).max(4).optional(),
});

export const LUKS_SECTOR_SIZES = [512, 4096] as const;

/** What is signed for Secure Boot: unified kernel images, or boot loader and kernels. */
export const SECURE_BOOT_WAYS = ['uki', 'kernel'] as const;

/** @see loader.conf(5), console-mode */
export const CONSOLE_MODES = ['0', '1', '2', '5', 'auto', 'max', 'keep'] as const;

/** @see GNU GRUB manual, timeout_style */
export const TIMEOUT_STYLES = ['menu', 'countdown', 'hidden'] as const;

/** Entries of a tree. They come from this project's own steps, and are too many to validate each. */
export const treeEntries = z.custom<readonly TreeEntry[]>(
  (value) => Array.isArray(value),
  'must be an array of entries',
);

/** Numeric owners of paths. */
export const treeOwners = z
  .array(z.object({ target: path, uid: z.int().min(0).max(0xffff_fffe), gid: z.int().min(0).max(0xffff_fffe) }))
  .readonly();

/** Extended attributes of single paths. */
export const treeAttributes = z
  .array(
    z.strictObject({
      target: path,
      name: z
        .string()
        .refine(holdsAttribute, 'must be in a namespace that ext4 supports (user, trusted, security), or an ACL'),
      value: z.string().regex(/^(?:[0-9a-f]{2})*$/i, 'must be hexadecimal digits'),
    }),
  )
  .readonly();

/** Owners of the targets of `contents`. Targets without user and group keep their owners. */
export const ownedContents = z
  .array(z.object({ target: path, user: ownerName.optional(), group: ownerName.optional() }))
  .readonly();

export const contentsEntry = z
  .strictObject({
    source: path,
    target: path,
    mode: fileMode.optional(),
    user: ownerName.optional(),
    group: ownerName.optional(),
  })
  .superRefine((entry, context) => {
    if ((entry.user === undefined) !== (entry.group === undefined))
      context.addIssue({
        code: 'custom',
        path: [entry.user === undefined ? 'user' : 'group'],
        message: 'user and group must be given together',
      });
    if (entry.target.split('/').includes('..'))
      context.addIssue({
        code: 'custom',
        path: ['target'],
        message: `${JSON.stringify(entry.target)} leaves the root; ".." is not allowed`,
      });
  });
export type ContentsEntry = z.infer<typeof contentsEntry>;
