import { z } from 'zod';
import { DETERMINISTIC_ROOT_GUID, PARTITION_LAYOUTS } from '../partition-table.ts';
import { IMAGE_FORMATS } from '../steps/convert-image.ts';
import { bootSizeRule } from '../steps/partition-disk.ts';
import { formatBytes, MIB } from '../units.ts';
import { contentsEntry, extLabel, guid, iecSize, partitionTableType, path } from './fields.ts';
import { type CrossRule, parseOptions } from './parse-options.ts';

/** The image specification: make-disk-image's options by their own names and defaults. In place of `config` stands
 *  `toplevel`, with where it is found.
 *  @see nixos/lib/make-disk-image.nix in nixpkgs */
export const imageSpecSchema = z.object({
  toplevel: path,
  store: path.optional(),
  closureInfo: path.optional(),
  additionalPaths: z.array(path).default([]),
  channel: path.optional(),
  diskSize: z
    .union([z.literal('auto'), z.int().positive()], { error: 'must be "auto" or a number of MiB' })
    .default('auto'),
  additionalSpace: iecSize.default(512 * MIB),
  bootSize: iecSize.default(256 * MIB),
  contents: z.array(contentsEntry).default([]),
  partitionTableType: partitionTableType.default('legacy'),
  installBootLoader: z.boolean().default(true),
  fsType: z.string().default('ext4'),
  label: extLabel.default('nixos'),
  configFile: path.optional(),
  format: z.enum(IMAGE_FORMATS).default('raw'),
  name: z.string().min(1).default('nixos-disk-image'),
  baseName: z
    .string()
    .regex(/^[^/\0]+$/, 'must be a file name')
    .refine((name) => name !== '.' && name !== '..', 'must be a file name')
    .default('nixos'),
  memSize: z.int().min(256, 'must be at least 256 MiB').default(1024),
  deterministic: z.boolean().default(true),
  rootGPUID: guid.default(DETERMINISTIC_ROOT_GUID),
  rootFSUID: guid.default(DETERMINISTIC_ROOT_GUID),
  rootFSHashSeed: guid.optional(),
  populateRootWith: z.enum(['mke2fs', 'cptofs']).default('mke2fs'),
  postVM: z.array(z.string()).min(1, 'must name a program').optional(),
});

/** What a user writes; every option but `toplevel` may be left out. */
export type ImageSpecInput = z.input<typeof imageSpecSchema>;
/** With defaults filled in, sizes in bytes (diskSize and memSize in MiB). */
export type ImageSpec = z.output<typeof imageSpecSchema>;

const RULES: readonly CrossRule<ImageSpec>[] = [
  bootSizeRule as CrossRule<ImageSpec>,
  ({ fsType, partitionTableType: type }) => {
    if (fsType === undefined || fsType === 'ext4') return [];
    return [
      {
        path: 'fsType',
        message:
          type !== undefined && type !== 'none'
            ? `"${fsType}" contradicts partitionTableType "${type}": only ext4 can be made at an offset, so with a partition table the root must be ext4`
            : `"${fsType}" is not built yet; only ext4 is`,
      },
    ];
  },
  ({ diskSize, bootSize, partitionTableType: type }) => {
    if (diskSize === undefined || diskSize === 'auto' || bootSize === undefined || type === undefined) return [];
    if (!PARTITION_LAYOUTS[type].usesBootSize || bootSize < diskSize * MIB) return [];
    return [
      {
        path: 'bootSize',
        message: `is where the boot partition ends: ${formatBytes(bootSize)} is past the end of a disk of ${formatBytes(diskSize * MIB)} (diskSize)`,
      },
    ];
  },
  ({ baseName, format }) =>
    baseName?.startsWith('-') === true && format !== undefined
      ? [{ path: 'baseName', message: 'must not begin with a dash' }]
      : [],
  ({ closureInfo, additionalPaths, channel }) =>
    closureInfo !== undefined && ((additionalPaths?.length ?? 0) > 0 || channel !== undefined)
      ? [{ path: 'closureInfo', message: 'contradicts additionalPaths and channel: it already names all store paths' }]
      : [],
];

/** Checks a specification: unknown keys, each value, and the rules between them, all reported at once.
 *  @throws {InvalidOptionsError} */
export function parseImageSpec(input: unknown): ImageSpec {
  return parseOptions('image specification', imageSpecSchema, input, RULES);
}
