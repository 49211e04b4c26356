import { z } from 'zod';
import { LABEL_BYTES, ROOT_FILESYSTEMS } from '../filesystem/root-filesystem.ts';
import { FORMATS_OF_ANY_SECTORS, FORMATS_WITH_RANDOM_IDENTIFIERS, IMAGE_FORMATS } from '../formats/image-formats.ts';
import { DETERMINISTIC_ROOT_GUID, type PartitionRole } from '../formats/layouts.ts';
import type { OptionIssue } from '../run/errors.ts';
import { type CrossRule, parseOptions } from '../run/parse-options.ts';
import { formatBytes, MIB } from '../units.ts';
import { encryptSpec } from './encrypt-spec.ts';
import {
  CONSOLE_MODES,
  contentsEntry,
  filesystemLabel,
  guid,
  iecSize,
  mebibytes,
  menuTimeout,
  partitionTableType,
  path,
  sectorSize,
  TIMEOUT_STYLES,
} from './fields.ts';
import { type Layout, type LayoutOptions, layoutOf, partitionOf } from './layout.ts';
import { bootSizeRule, sectorSizeRule } from './layout-rules.ts';
import { givenBesidePartitions, ofRootPartition, partitionsRule } from './partition-rules.ts';
import { type OwnPartition, ownPartitions, partitionsSpec } from './partitions-spec.ts';
import { secureBootSpec } from './secure-boot-spec.ts';

/** How the boot loader is installed: by the system's own program in a VM, or by this project from the system's
 *  boot.json. */
const BOOT_LOADER_WAYS = ['switch-to-configuration', 'bootspec'] as const;
const BOOT_LOADERS = ['grub', 'systemd-boot'] as const;
export type BootLoader = (typeof BOOT_LOADERS)[number];

/** The image specification: make-disk-image's options, with the same names and defaults. `toplevel` and `store` replace
 *  `config`.
 *  @see nixos/lib/make-disk-image.nix in nixpkgs */
export const imageSpecSchema = z.object({
  toplevel: path,
  store: path.optional(),
  closureInfo: path.optional(),
  additionalPaths: z.array(path).default([]),
  channel: path.optional(),
  diskSize: z
    .union([z.literal('auto'), mebibytes], { error: 'must be "auto", a number of MiB, or an IEC size such as "20G"' })
    .default('auto'),
  additionalSpace: iecSize.optional(),
  minimize: z.boolean().default(false),
  bootSize: iecSize.default(256 * MIB),
  sectorSize: sectorSize.default(512),
  sizeMultiple: iecSize
    .refine((bytes) => bytes > 0 && bytes % MIB === 0, { error: 'must be a multiple of 1M' })
    .default(MIB),
  maxSize: iecSize.optional(),
  contents: z.array(contentsEntry).default([]),
  partitionTableType: partitionTableType.default('legacy'),
  partitions: partitionsSpec.optional(),
  installBootLoader: z.boolean().default(true),
  bootLoaderFrom: z.enum(BOOT_LOADER_WAYS).default('switch-to-configuration'),
  bootLoader: z.enum(BOOT_LOADERS).optional(),
  bootLoaderTimeout: menuTimeout.optional(),
  editor: z.boolean().optional(),
  consoleMode: z.enum(CONSOLE_MODES).optional(),
  timeoutStyle: z.enum(TIMEOUT_STYLES).optional(),
  touchEFIVars: z.boolean().default(false),
  efiVariables: path.optional(),
  onlyNixStore: z.boolean().default(false),
  fsType: z.enum(ROOT_FILESYSTEMS).default('ext4'),
  label: filesystemLabel.optional(),
  configFile: path.optional(),
  format: z.enum(IMAGE_FORMATS).default('raw'),
  name: z.string().min(1).default('nixos-disk-image'),
  baseName: z
    .string()
    .regex(/^[^/\0]+$/, 'must be a file name')
    .refine((name) => name !== '.' && name !== '..', 'must be a file name')
    // With an extension, it is the name of a file.
    .refine((name) => Buffer.byteLength(name) <= 240, 'must not have more than 240 bytes')
    .default('nixos'),
  memSize: mebibytes.refine((size) => size >= 256, 'must be at least 256 MiB').default(1024),
  deterministic: z.boolean().default(true),
  reproducible: z.boolean().default(false),
  rootGPUID: guid.default(DETERMINISTIC_ROOT_GUID),
  rootFSUID: guid.optional(),
  rootFSHashSeed: guid.optional(),
  secureBoot: secureBootSpec.optional(),
  encrypt: encryptSpec.optional(),
  populateRootWith: z.enum(['mke2fs', 'cptofs']).default('mke2fs'),
  postVM: z.array(z.string()).min(1, 'must name a program').optional(),
});

/** The specification as the user writes it. Only `toplevel` is required. */
export type ImageSpecInput = z.input<typeof imageSpecSchema>;
/** The parsed specification: defaults are filled in, and sizes are in bytes (diskSize and memSize in MiB). */
export type ImageSpec = Omit<
  z.output<typeof imageSpecSchema>,
  'label' | 'rootFSUID' | 'additionalSpace' | 'partitions'
> & {
  /** The user's partitions, completed with defaults; undefined for one of make-disk-image's layouts. */
  readonly partitions: readonly OwnPartition[] | undefined;
  readonly label: string;
  readonly additionalSpace: number;
  readonly rootFSUID: string;
};

/** Options of a boot loader that this project installs. */
const LOADER_OPTIONS = ['bootLoader', 'bootLoaderTimeout', 'editor', 'consoleMode', 'timeoutStyle'] as const;

/** The loader of each option that only one loader has. */
export const ONLY_OF: Readonly<Partial<Record<(typeof LOADER_OPTIONS)[number], BootLoader>>> = {
  editor: 'systemd-boot',
  consoleMode: 'systemd-boot',
  timeoutStyle: 'grub',
};

type Parsed = z.output<typeof imageSpecSchema>;

/** The layout, with the user's partitions as far as they are valid; undefined for an invalid one. */
function layoutIn({ partitionTableType, partitions, deterministic = true }: Partial<Parsed>): Layout | undefined {
  if (partitionTableType === undefined) return undefined;
  const own = partitions === undefined ? undefined : ownPartitions(partitions, deterministic);
  return layoutOf({ partitionTableType, partitions: own });
}

function isForBooting(role: PartitionRole): boolean {
  return role === 'esp' || role === 'xbootldr' || role === 'boot';
}

const RULES: readonly CrossRule<Parsed>[] = [
  partitionsRule as CrossRule<Parsed>,
  // Own partitions have rules of their own for these.
  (spec) => (spec.partitions === undefined ? bootSizeRule(spec as Partial<LayoutOptions & Parsed>) : []),
  (spec) => (spec.partitions === undefined ? sectorSizeRule(spec as Partial<LayoutOptions & Parsed>) : []),
  ({ sectorSize: bytes, fsType }) =>
    bytes === 4096 && fsType === 'f2fs'
      ? [{ path: 'sectorSize', message: '4096 contradicts fsType "f2fs": it is supported for ext4, btrfs and xfs' }]
      : [],
  ({ sectorSize: bytes, format }) =>
    bytes === 4096 && format !== undefined && !FORMATS_OF_ANY_SECTORS.includes(format)
      ? [{ path: 'sectorSize', message: `4096 contradicts format "${format}": its disks have sectors of 512 bytes` }]
      : [],
  ({ fsType, label }) =>
    fsType === undefined || label === undefined || Buffer.byteLength(label) <= LABEL_BYTES[fsType]
      ? []
      : [{ path: 'label', message: `is longer than the ${LABEL_BYTES[fsType]} bytes of ${fsType}'s label` }],
  ({ fsType, populateRootWith }) =>
    populateRootWith === 'cptofs' && fsType !== undefined && fsType !== 'ext4'
      ? [
          {
            path: 'populateRootWith',
            message: `"cptofs" contradicts fsType "${fsType}": it is supported only for ext4`,
          },
        ]
      : [],
  ({ populateRootWith, contents = [], installBootLoader, bootLoaderFrom }) => {
    // In the builder VM, the system's own chown sets the owners afterwards.
    const isActivated = installBootLoader !== false && bootLoaderFrom === 'switch-to-configuration';
    if (populateRootWith !== 'cptofs' || isActivated) return [];
    return contents.flatMap(({ user, target }, index) =>
      user === undefined
        ? []
        : [
            {
              path: `contents[${index}].user`,
              message: `contradicts populateRootWith "cptofs", which makes root the owner of ${target}; use "mke2fs"`,
            },
          ],
    );
  },
  ({ reproducible, deterministic, fsType, populateRootWith, format }) => {
    if (reproducible !== true) return [];
    const contradicts = (with_: string, why: string) => ({
      path: 'reproducible',
      message: `contradicts ${with_}: ${why}`,
    });
    return [
      ...(deterministic === false ? [contradicts('deterministic: false', 'identifiers would be random')] : []),
      ...(fsType !== undefined && fsType !== 'ext4'
        ? [contradicts(`fsType "${fsType}"`, 'its tools write identifiers and times that cannot be set')]
        : []),
      ...(format !== undefined && FORMATS_WITH_RANDOM_IDENTIFIERS.includes(format)
        ? [contradicts(`format "${format}"`, 'qemu-img writes random identifiers into it')]
        : []),
      ...(populateRootWith === 'cptofs'
        ? [contradicts('populateRootWith "cptofs"', 'a Linux kernel writes the filesystem, with the current time')]
        : []),
    ];
  },
  ({ installBootLoader, ...spec }) => {
    const given = LOADER_OPTIONS.filter((name) => spec[name] !== undefined);
    if (spec.bootLoaderFrom === 'switch-to-configuration' || installBootLoader === false)
      return given.map((name) => ({
        path: name,
        message:
          installBootLoader === false
            ? 'contradicts installBootLoader: false'
            : 'has no effect with bootLoaderFrom "switch-to-configuration"; set bootLoaderFrom "bootspec"',
      }));
    const { bootLoader } = spec;
    const layout = layoutIn(spec);
    if (bootLoader === undefined) return [];
    return [
      ...given
        .filter((name) => ONLY_OF[name] !== undefined && ONLY_OF[name] !== bootLoader)
        .map((name) => ({
          path: name,
          message: `is an option of ${ONLY_OF[name]}, but bootLoader is "${bootLoader}"`,
        })),
      ...(bootLoader === 'systemd-boot' && layout?.efi === false
        ? [
            {
              path: 'bootLoader',
              message: `"systemd-boot" needs EFI, which ${layout.named} does not support`,
            },
          ]
        : []),
    ];
  },
  ({ diskSize, bootSize, ...spec }) => {
    if (diskSize === undefined || diskSize === 'auto' || bootSize === undefined) return [];
    if (layoutIn(spec)?.usesBootSize !== true || bootSize < diskSize * MIB) return [];
    return [
      {
        path: 'bootSize',
        message: `is the end of the boot partition: ${formatBytes(bootSize)} is beyond the end of a disk of ${formatBytes(diskSize * MIB)} (diskSize)`,
      },
    ];
  },
  ({ minimize, diskSize, fsType, populateRootWith, installBootLoader, bootLoaderFrom }) => {
    if (minimize !== true) return [];
    const contradicts = (what: string, why: string) => ({ path: 'minimize', message: `contradicts ${what}: ${why}` });
    return [
      ...(diskSize !== undefined && diskSize !== 'auto'
        ? [contradicts('diskSize', 'the disk cannot have the smallest and a given size')]
        : []),
      ...(fsType !== undefined && fsType !== 'ext4'
        ? [contradicts(`fsType "${fsType}"`, 'it is supported only for ext4')]
        : []),
      ...(populateRootWith === 'cptofs'
        ? [contradicts('populateRootWith "cptofs"', 'a Linux kernel decides how much space it takes')]
        : []),
      ...(installBootLoader !== false && bootLoaderFrom === 'switch-to-configuration'
        ? [
            contradicts(
              'bootLoaderFrom "switch-to-configuration"',
              'the system\'s own programs write into the finished root; set bootLoaderFrom "bootspec"',
            ),
          ]
        : []),
    ];
  },
  ({ diskSize, sizeMultiple, maxSize }) => {
    if (diskSize === undefined || diskSize === 'auto') return [];
    const bytes = diskSize * MIB;
    return [
      ...(maxSize !== undefined && bytes > maxSize
        ? [{ path: 'diskSize', message: `${formatBytes(bytes)} is more than maxSize, ${formatBytes(maxSize)}` }]
        : []),
      ...(sizeMultiple !== undefined && bytes % sizeMultiple !== 0
        ? [
            {
              path: 'diskSize',
              message: `${formatBytes(bytes)} is not a multiple of sizeMultiple, ${formatBytes(sizeMultiple)}`,
            },
          ]
        : []),
    ];
  },
  ({ contents = [], ...spec }) => {
    const { partitions = [] } = layoutIn(spec) ?? {};
    return contents.flatMap(({ target, user, mode }, index) => {
      const partition = partitionOf(partitions, target);
      if (partition?.label === undefined) return [];
      const given = { user, mode };
      return Object.entries(given)
        .filter(([, value]) => value !== undefined)
        .map(([name]) => ({
          path: `contents[${index}].${name}`,
          message: `${target} is on the partition ${partition.mountPoint}, a FAT, which does not store owners and modes`,
        }));
    });
  },
  ({ onlyNixStore, contents = [], configFile, installBootLoader, fsType }) => {
    if (onlyNixStore !== true) return [];
    const wrong = (option: string, why: string) => ({ path: 'onlyNixStore', message: `contradicts ${option}: ${why}` });
    return [
      ...(contents.length > 0 ? [wrong('contents', 'the image has no root directory for them')] : []),
      ...(configFile !== undefined ? [wrong('configFile', 'the image has no /etc')] : []),
      ...(installBootLoader !== false
        ? [wrong('installBootLoader', 'the image has no system to boot; set it to false')]
        : []),
      ...(fsType !== undefined && fsType !== 'ext4'
        ? [wrong(`fsType "${fsType}"`, 'it is supported only for ext4')]
        : []),
    ];
  },
  ({ touchEFIVars, ...spec }) => {
    const layout = layoutIn(spec);
    return touchEFIVars === true && layout !== undefined && layout.table !== 'gpt'
      ? [{ path: 'touchEFIVars', message: `contradicts ${layout.named}: EFI needs a GPT` }]
      : [];
  },
  ({ baseName, format }) =>
    baseName?.startsWith('-') === true && format !== undefined
      ? [{ path: 'baseName', message: 'must not begin with a dash' }]
      : [],
  ({ secureBoot, installBootLoader, bootLoader, touchEFIVars, ...spec }) => {
    if (secureBoot === undefined) return [];
    const layout = layoutIn(spec);
    const contradicts = (what: string, why: string) => ({ path: 'secureBoot', message: `contradicts ${what}: ${why}` });
    return [
      ...(secureBoot.way === 'lanzaboote'
        ? [
            {
              path: 'secureBoot.way',
              message:
                '"lanzaboote" is done by its own installer, which must run: leave secureBoot out, put the keys at boot.lanzaboote.pkiBundle (contents), and use bootLoaderFrom "switch-to-configuration"',
            },
          ]
        : []),
      ...(installBootLoader === false ? [contradicts('installBootLoader: false', 'there is nothing to sign')] : []),
      ...(bootLoader === 'grub' ? [contradicts('bootLoader "grub"', 'GRUB does not verify what it starts')] : []),
      ...(layout?.efi === false ? [contradicts(layout.named, 'it is not for EFI')] : []),
      ...(secureBoot.enroll === 'variables' && touchEFIVars === false
        ? [{ path: 'secureBoot.enroll', message: '"variables" needs touchEFIVars: true, which keeps the store' }]
        : []),
    ];
  },
  ({ encrypt, ...spec }) => {
    if (encrypt === undefined) return [];
    const layout = layoutIn(spec);
    const contradicts = (what: string, why: string) => ({ path: 'encrypt', message: `contradicts ${what}: ${why}` });
    return [
      ...(layout?.partitions.some(({ role }) => isForBooting(role)) === false
        ? [contradicts(layout.named, 'the boot loader cannot read an encrypted /boot')]
        : []),
      ...(spec.populateRootWith === 'cptofs'
        ? [contradicts('populateRootWith "cptofs"', 'it writes only to the start of a partition')]
        : []),
      ...(spec.reproducible === true && encrypt.volumeKeyFile === undefined
        ? [
            contradicts(
              'reproducible: true',
              'its key is random; with volumeKeyFile, all but the LUKS header is the same',
            ),
          ]
        : []),
      ...(spec.fsType === 'xfs' && spec.sectorSize !== 4096 && encrypt.sectorSize === 4096
        ? [{ path: 'encrypt.sectorSize', message: '4096 contradicts fsType "xfs", whose sectors have 512 bytes' }]
        : []),
      ...(encrypt.keyDerivation?.type === 'pbkdf2'
        ? (['memory', 'threads'] as const)
            .filter((name) => encrypt.keyDerivation?.[name] !== undefined)
            .map((name) => ({ path: `encrypt.keyDerivation.${name}`, message: 'is an option of argon2id' }))
        : []),
    ];
  },
  ({ closureInfo, additionalPaths }) =>
    closureInfo !== undefined && (additionalPaths?.length ?? 0) > 0
      ? [{ path: 'closureInfo', message: 'contradicts additionalPaths: it already names all store paths' }]
      : [],
  ({ touchEFIVars, efiVariables }) =>
    efiVariables !== undefined && touchEFIVars === false
      ? [{ path: 'efiVariables', message: 'has no effect with touchEFIVars: false; set it to true' }]
      : [],
];

/** The description of each option, for `build --help` and editors. */
export const IMAGE_SPEC_DESCRIPTIONS: Readonly<Record<keyof ImageSpec, string>> = {
  toplevel: 'NixOS system to install: a store path, or a link to one such as ./result',
  store: "directory of a private Nix store that contains the system (nix-build --store DIR); default: the host's store",
  closureInfo: "output of nixpkgs' closureInfo, used instead of querying a Nix database",
  additionalPaths: 'additional store paths to include, with their closures',
  channel: 'store path with the sources of a channel; default: no channel',
  diskSize: 'size of the disk: MiB, an IEC size ("20G"), or "auto": the contents plus additionalSpace',
  additionalSpace: 'free space with diskSize "auto": an IEC size or bytes; default 512M, or 32M with minimize',
  minimize: 'make the root filesystem as small as its content allows, with additionalSpace beyond it',
  bootSize: 'end of the boot partition on the disk: an IEC size or bytes; default 256M',
  sectorSize:
    "size of the disk's sectors: 512, or 4096 for a machine whose disks have such sectors (only with partitionTableType efi); default 512",
  sizeMultiple: 'round the size of the disk up to a multiple of this, such as "1G" for a cloud; default 1M',
  maxSize: 'refuse to make a larger disk than this, and name the largest store paths',
  contents: 'files of the host to copy into the image: source (* is a wildcard), target, mode, user and group',
  partitionTableType: 'partition layout',
  partitions:
    'own partitions, in the order on the disk, instead of a partition layout: type, size, filesystem, mountPoint and more',
  installBootLoader: 'install the boot loader',
  bootLoaderFrom:
    "how the boot loader is installed: by the system's own switch-to-configuration in a VM, or on this host from the system's boot.json, without a VM and without root",
  bootLoader:
    'boot loader to install with bootLoaderFrom "bootspec"; default: the one that the system is configured for',
  bootLoaderTimeout:
    'seconds that the menu waits, or "none" to wait for a key, with bootLoaderFrom "bootspec"; default: as the system is configured',
  editor:
    'allow editing kernel parameters in the menu of systemd-boot, with bootLoaderFrom "bootspec"; default: as the system is configured',
  consoleMode: 'console mode of systemd-boot (loader.conf(5)); default: as the system is configured',
  timeoutStyle:
    'what GRUB shows while it waits: its menu, a countdown, or nothing; default: as the system is configured',
  touchEFIVars:
    'keep a store of EFI variables beside the image (efi-vars.fd), with a boot entry for its loader if it has one',
  efiVariables:
    "empty store of EFI variables (OVMF_VARS.fd) to start from with touchEFIVars; default: the one of this host's firmware",
  fsType: 'type of the root filesystem',
  label: 'label of the root filesystem; default nixos, or nix-store with onlyNixStore',
  configFile: 'file to install as /etc/nixos/configuration.nix',
  onlyNixStore: 'put only the store paths into the image, at its root',
  format: 'format of the image file',
  name: 'name of the derivation in Nix; has no effect here',
  baseName: 'name of the image file, without its extension',
  memSize: 'memory of the builder VM, in MiB',
  deterministic: 'use fixed identifiers for the disk, its partitions and filesystems',
  reproducible: 'produce the same bytes each time',
  rootGPUID: 'GUID of the root partition',
  rootFSUID: 'UUID of the root filesystem; default: rootGPUID',
  rootFSHashSeed: "seed of an ext4's directory hashes; default: rootFSUID",
  secureBoot:
    'sign the boot loader and kernels for Secure Boot: key, certificate, way ("uki" or "kernel"), enroll ("variables", "first-boot" or "none")',
  encrypt:
    'encrypt the root with LUKS2: passphraseFile, name in /dev/mapper, uuid, keyDerivation, morePassphraseFiles, recoveryKeyFile and more',
  populateRootWith: 'program that fills the root filesystem',
  postVM: 'program and arguments to run at the end, with the image in $diskImage and the output directory in $out',
};

/** The specification as a JSON Schema, for editors: its keys, values and defaults. Only parseImageSpec checks the rules
 *  between options, and strings that no pattern describes. */
export function imageSpecJsonSchema(): Record<string, unknown> {
  const { $schema, properties, ...schema } = z.toJSONSchema(imageSpecSchema.strict(), {
    io: 'input',
    unrepresentable: 'any',
  });
  return {
    $schema,
    title: 'nixos-disk-image: image specification',
    ...schema,
    properties: {
      $schema: { type: 'string' },
      ...Object.fromEntries(
        Object.entries(properties ?? {}).map(([name, property]) => [
          name,
          { description: sentence(IMAGE_SPEC_DESCRIPTIONS[name as keyof ImageSpec]), ...(property as object) },
        ]),
      ),
    },
  };
}

function sentence(description: string): string {
  return `${description.slice(0, 1).toUpperCase()}${description.slice(1)}.`;
}

/** What the first boot of a system writes before it grows its root: files in /etc, a log, and the 8 MiB that Nix keeps in
 *  reserve. @see nix.conf(5), gc-reserved-space */
const FIRST_BOOT_BYTES = 32 * MIB;

/** With own partitions, what the root partition says about itself. */
function withRoot(spec: Partial<Parsed>): Partial<Parsed> {
  if (spec.partitions === undefined) return spec;
  return { ...spec, ...ofRootPartition(ownPartitions(spec.partitions, spec.deterministic ?? true)) };
}

/** Identifiers that would be given and random at once. @param input as the user wrote it. */
function givenButRandom(input: unknown): OptionIssue[] {
  if (typeof input !== 'object' || input === null) return [];
  return ['rootGPUID', 'rootFSUID', 'rootFSHashSeed']
    .filter((name) => (input as Record<string, unknown>)[name] !== undefined)
    .map((name) => ({ path: name, message: 'contradicts deterministic: false, with which identifiers are random' }));
}

/** What parseImageSpec returned. It is not parsed again: its partitions are completed already. */
const PARSED = new WeakSet<object>();

/** Parses a specification. Unknown keys, invalid values and violated rules between options are all reported at once.
 *  @throws {InvalidOptionsError} */
export function parseImageSpec(input: unknown): ImageSpec {
  if (typeof input === 'object' && input !== null && PARSED.has(input)) return input as ImageSpec;
  const rules = [
    ...RULES.map((rule) => (spec: Partial<Parsed>) => rule(withRoot(spec))),
    () => givenBesidePartitions(input),
    (spec: Partial<Parsed>) => (spec.deterministic === false ? givenButRandom(input) : []),
  ];
  const parsed = withRoot(parseOptions('image specification', imageSpecSchema, input, rules)) as Parsed;
  const { onlyNixStore, label = onlyNixStore ? 'nix-store' : 'nixos', rootGPUID, rootFSUID = rootGPUID } = parsed;
  const { minimize, additionalSpace: space = minimize ? FIRST_BOOT_BYTES : 512 * MIB, deterministic } = parsed;
  const partitions = parsed.partitions && ownPartitions(parsed.partitions, deterministic);
  const additionalSpace = partitions?.find(({ role }) => role === 'root')?.additionalSpace ?? space;
  const spec = {
    ...{ ...parsed, label, rootFSUID, additionalSpace },
    partitions: partitions?.map((one) => ({ ...one, additionalSpace: one.additionalSpace ?? space })),
  };
  PARSED.add(spec);
  return spec;
}
