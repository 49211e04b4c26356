import { expect, test } from 'vitest';
import { InvalidOptionsError } from '../../../../lib/run/errors.ts';
import { type ImageSpecInput, parseImageSpec } from '../../../../lib/spec/image-spec.ts';
import { MIB } from '../../../../lib/units.ts';

const toplevel = '/nix/store/00000000000000000000000000000000-nixos-system';
type Partitions = NonNullable<ImageSpecInput['partitions']>;

const ROOT = { mountPoint: '/' } as const;
const ESP = { type: 'esp', mountPoint: '/boot' } as const;

function problems(partitions: Partitions, more: object = {}): string[] {
  try {
    parseImageSpec({ toplevel, bootLoaderFrom: 'bootspec', partitions, ...more });
  } catch (error) {
    if (error instanceof InvalidOptionsError) return error.issues.map(({ path, message }) => `${path}: ${message}`);
    throw error;
  }
  return [];
}

test('what is left out is completed', () => {
  const spec = parseImageSpec({
    toplevel,
    additionalSpace: '1G',
    partitions: [
      ESP,
      { type: 'swap', size: '2G' },
      { type: 'bios-boot' },
      { type: 'home', mountPoint: '/home' },
      { ...ROOT, filesystem: 'xfs', additionalSpace: '3G' },
      { type: '0FC63DAF-8483-4772-8E79-3D69D8477DE4', size: 4096, attributes: ['read-only', 2] },
      { filesystem: 'vfat', mountPoint: '/boot2' },
    ],
  });
  expect(spec.partitions).toMatchObject([
    { number: 1, role: 'esp', name: 'esp', filesystem: 'vfat', label: 'ESP', sizeBytes: 256 * MIB, weight: 0 },
    { number: 2, role: 'swap', name: 'swap', filesystem: 'swap', filesystemLabel: 'swap', sizeBytes: 2048 * MIB },
    { number: 3, role: 'bios-grub', name: 'bios-boot', filesystem: 'none', sizeBytes: MIB },
    { number: 4, role: 'data', name: 'home', filesystem: 'ext4', filesystemLabel: 'home', sizeBytes: undefined },
    { number: 5, role: 'root', name: 'linux-generic', filesystem: 'xfs', filesystemLabel: 'nixos', weight: 1 },
    { number: 6, role: 'data', filesystem: 'none', sizeBytes: 4096, attributes: [60, 2], label: undefined },
    { number: 7, role: 'data', filesystem: 'vfat', label: 'BOOT2', filesystemLabel: 'BOOT2' },
  ]);
  expect(spec).toMatchObject({ fsType: 'xfs', label: 'nixos', additionalSpace: 3072 * MIB });
  expect(spec.partitions?.[3]?.additionalSpace).toBe(1024 * MIB);
  const identifiers = (spec.partitions ?? []).flatMap(({ uuid, filesystemUuid }) => [uuid, filesystemUuid]);
  expect(new Set(identifiers).size).toBe(identifiers.length - 1);
  expect(spec.partitions?.[4]).toMatchObject({ uuid: spec.rootGPUID, filesystemUuid: spec.rootFSUID });
  expect(spec.partitions?.[6]?.filesystemUuid).toMatch(/^[0-9A-F]{8}$/);
});

test('a parsed specification is parsed already', () => {
  const spec = parseImageSpec({ toplevel, partitions: [ESP, ROOT] });
  expect(parseImageSpec(spec)).toBe(spec);
});

test('identifiers are random unless they are given or deterministic', () => {
  const uuid = '11111111-2222-4333-8444-555555555555';
  const { partitions } = parseImageSpec({ toplevel, deterministic: false, partitions: [{ ...ESP, uuid }, ROOT] });
  expect(partitions?.map((one) => [one.uuid, one.filesystemUuid])).toEqual([
    [uuid, undefined],
    [undefined, undefined],
  ]);
});

test.each<[string, Partitions, object, RegExp]>([
  ['no partitions', [], {}, /^partitions: must name at least one partition/],
  ['no root', [ESP], {}, /^partitions: has no partition with mountPoint "\/"/],
  [
    'two roots',
    [ROOT, { ...ROOT, label: 'other', uuid: '11111111-2222-4333-8444-555555555555' }],
    {},
    /partitions\[1\]\.mountPoint: \/ is that of partitions\[0\]/,
  ],
  [
    'an unknown option',
    [{ ...ROOT, fileSystem: 'ext4' } as never],
    {},
    /partitions\[0\]\.fileSystem: there is no such option; did you mean "filesystem"/,
  ],
  [
    'a type without an architecture',
    [{ ...ROOT, type: 'root' }],
    {},
    /partitions\[0\]\.type: "root" is not a partition type; did you mean "root-x86-64"/,
  ],
  ['a misspelt type', [ROOT, { type: 'sawp', size: '1G' }], {}, /partitions\[1\]\.type: .*did you mean "swap"/],
  [
    'half a GUID',
    [{ ...ROOT, type: '0FC63DAF-8483' }],
    {},
    /partitions\[0\]\.type: "0FC63DAF-8483" is not a partition type/,
  ],
  ['a size without a unit that is known', [{ ...ROOT, size: '20 GB' }], {}, /partitions\[0\]\.size: /],
  ['swap without a size', [ROOT, { type: 'swap' }], {}, /partitions\[1\]\.size: is required for swap/],
  [
    'nothing without a size',
    [ROOT, { type: 'linux-lvm' }],
    {},
    /partitions\[1\]\.size: is required without a filesystem/,
  ],
  [
    'the type of nothing',
    [{ ...ROOT, type: '00000000-0000-0000-0000-000000000000' }],
    {},
    /partitions\[0\]\.type: .* is not a partition type/,
  ],
  [
    'a GUID of zeros',
    [{ ...ROOT, uuid: '00000000-0000-0000-0000-000000000000' }],
    {},
    /partitions\[0\]\.uuid: must not be zero/,
  ],
  [
    'a page of swap',
    [ROOT, { type: 'swap', size: '4K', alignment: '4K' }],
    {},
    /partitions\[1\]\.size: is less than the 40 KiB of the smallest swap/,
  ],
  [
    'a small xfs',
    [{ ...ROOT, filesystem: 'xfs', size: '200M' }],
    {},
    /partitions\[0\]\.size: is less than the 300 MiB of the smallest xfs/,
  ],
  ['nothing of size 0', [ROOT, { type: 'linux-lvm', size: 0 }], {}, /partitions\[1\]\.size: must be more than 0/],
  [
    'space beyond a given size',
    [{ ...ROOT, size: '2G', additionalSpace: '1G' }],
    {},
    /additionalSpace: has an effect only where/,
  ],
  [
    'space in a FAT',
    [{ ...ESP, additionalSpace: '1G' }, ROOT],
    {},
    /partitions\[0\]\.additionalSpace: has an effect only where/,
  ],
  [
    'a mounted swap',
    [ROOT, { type: 'swap', size: '1G', mountPoint: '/swap' }],
    {},
    /mountPoint: contradicts filesystem "swap"/,
  ],
  [
    'a filled swap',
    [ROOT, { type: 'swap', size: '1G', populateFrom: '/srv' }],
    {},
    /populateFrom: contradicts filesystem "swap"/,
  ],
  ['two sources', [ROOT, { mountPoint: '/srv', populateFrom: '/srv' }], {}, /populateFrom: contradicts mountPoint/],
  ['a root on a FAT', [{ ...ROOT, filesystem: 'vfat' }], {}, /filesystem: "vfat" cannot be the root/],
  ['a root on swap', [{ ...ROOT, filesystem: 'swap', size: '1G' }], {}, /filesystem: "swap" cannot be the root/],
  ['a store on a FAT', [ROOT, { mountPoint: '/nix', filesystem: 'vfat' }], {}, /"vfat" cannot hold a Nix store/],
  ['half a store', [ROOT, { mountPoint: '/nix/var' }], {}, /below \/nix, only \/nix\/store/],
  ['a kernel filesystem', [ROOT, { mountPoint: '/run/user' }], {}, /\/run\/user is not on a disk/],
  [
    'a relative mount point',
    [ROOT, { mountPoint: 'home' }],
    {},
    /partitions\[1\]\.mountPoint: must be an absolute path/,
  ],
  ['a mount point with dots', [ROOT, { mountPoint: '/home/../srv' }], {}, /must be a path without "\.\."/],
  ['a slash at the end', [ROOT, { mountPoint: '/home/' }], {}, /must be a path without/],
  [
    'an ext4 for the firmware',
    [{ ...ESP, filesystem: 'ext4' }, ROOT],
    {},
    /partitions\[0\]\.filesystem: "ext4" cannot be read by the firmware/,
  ],
  [
    'a filled BIOS boot partition',
    [{ type: 'bios-boot', filesystem: 'ext4' }, ROOT],
    {},
    /must be "none" for type "bios-boot"/,
  ],
  [
    'a long label',
    [{ ...ROOT, filesystem: 'xfs', label: 'thirteen chars' }],
    {},
    /label: is longer than the 12 bytes of xfs's label/,
  ],
  ['a label of a FAT', [{ ...ESP, label: 'a.b' }, ROOT], {}, /label: contains a character that is not allowed in FAT/],
  ['a label of nothing', [ROOT, { type: 'linux-lvm', size: '1G', label: 'x' }], {}, /label: needs a filesystem/],
  [
    'a UUID for a FAT',
    [{ ...ESP, filesystemUuid: '11111111-2222-4333-8444-555555555555' }, ROOT],
    {},
    /filesystemUuid: must be 8 hexadecimal digits/,
  ],
  ['a volume ID for an ext4', [{ ...ROOT, filesystemUuid: 'ABCD-1234' }], {}, /filesystemUuid: must be a GUID/],
  [
    'a label twice',
    [ROOT, { mountPoint: '/srv', label: 'nixos' }],
    {},
    /partitions\[1\]\.label: nixos is that of partitions\[0\] as well/,
  ],
  [
    'a default label twice',
    [ROOT, { mountPoint: '/a/x' }, { mountPoint: '/b/x' }],
    {},
    /partitions\[2\]\.label: x is that of partitions\[1\] as well; set another one/,
  ],
  ['a name of 37 characters', [{ ...ROOT, name: 'x'.repeat(37) }], {}, /name: is longer than the 36 characters/],
  ['a line feed in a name', [{ ...ROOT, name: 'a\nb' }], {}, /name: must not contain control characters/],
  [
    'an attribute that is none',
    [{ ...ROOT, attributes: ['boot' as never] }],
    {},
    /attributes\[0\]: must be the number of a bit, or one of grow-file-system/,
  ],
  [
    '129 partitions',
    [ROOT, ...Array.from({ length: 128 }, () => ({ type: 'linux-lvm', size: '1M' }))],
    {},
    /must not name more than 128/,
  ],
  [
    'a layout beside them',
    [ESP, ROOT],
    { partitionTableType: 'legacy' },
    /^partitionTableType: contradicts partitions: it is the layout/,
  ],
  ['a boot size', [ESP, ROOT], { bootSize: '300M' }, /^bootSize: contradicts partitions: set size/],
  ['a filesystem', [ESP, ROOT], { fsType: 'ext4' }, /^fsType: contradicts partitions: set filesystem/],
  ['a label', [ESP, ROOT], { label: 'x' }, /^label: contradicts partitions/],
  ['a GUID', [ESP, ROOT], { rootGPUID: '11111111-2222-4333-8444-555555555555' }, /^rootGPUID: contradicts partitions/],
  [
    'the store alone',
    [ROOT],
    { onlyNixStore: true, installBootLoader: false },
    /^partitions: contradicts onlyNixStore/,
  ],
  ['cptofs', [ESP, ROOT], { populateRootWith: 'cptofs' }, /^partitions: contradicts populateRootWith "cptofs"/],
  [
    'sizes beyond the disk',
    [ESP, { ...ROOT, size: '2G' }],
    { diskSize: '2G' },
    /^diskSize: 2 GiB is less than the sizes in partitions, which need 2\.3 GiB/,
  ],
  [
    'a limit that nothing comes near',
    [ESP, { ...ROOT, maxSize: '2G' }],
    {},
    /partitions\[1\]\.maxSize: has an effect only with weight/,
  ],
  [
    'a limit below the size',
    [ESP, { ...ROOT, size: '3G', maxSize: '2G', weight: 1 }],
    {},
    /partitions\[1\]\.maxSize: is less than size/,
  ],
  [
    'an alignment of sectors',
    [ESP, { ...ROOT, alignment: 512 }],
    {},
    /partitions\[1\]\.alignment: must be a multiple of 4K/,
  ],
  [
    'padding that never grows',
    [ESP, { ...ROOT, padding: { maxSize: '2G' } }],
    {},
    /partitions\[1\]\.padding\.maxSize: has an effect only with weight/,
  ],
  [
    'a small root of a given size',
    [ESP, { ...ROOT, size: '2G' }],
    { minimize: true },
    /contradicts minimize: the root has a size already/,
  ],
  [
    'a small root without the store',
    [ESP, { mountPoint: '/nix' }, ROOT],
    { minimize: true },
    /contradicts minimize: .* the store is on another partition/,
  ],
  [
    'reproducible btrfs',
    [ESP, { mountPoint: '/home', filesystem: 'btrfs' }, ROOT],
    { reproducible: true },
    /partitions\[1\]\.filesystem: "btrfs" contradicts reproducible/,
  ],
  [
    'a VM for reproducible partitions',
    [ESP, { mountPoint: '/home' }, ROOT],
    { reproducible: true, bootLoaderFrom: 'switch-to-configuration' },
    /only a root and boot partitions are laid out again/,
  ],
  [
    'large sectors for BIOS',
    [{ type: 'bios-boot' }, ROOT],
    { sectorSize: 4096 },
    /"bios-boot" contradicts sectorSize 4096/,
  ],
  [
    'large sectors for XBOOTLDR',
    [{ type: 'esp', mountPoint: '/efi' }, { type: 'xbootldr', mountPoint: '/boot' }, ROOT],
    { sectorSize: 4096 },
    /"xbootldr" contradicts sectorSize 4096/,
  ],
  [
    'large sectors and f2fs',
    [ESP, { mountPoint: '/home', filesystem: 'f2fs' }, ROOT],
    { sectorSize: 4096 },
    /partitions\[1\]\.filesystem: "f2fs" contradicts sectorSize 4096/,
  ],
  [
    'systemd-boot without an ESP',
    [ROOT],
    { bootLoader: 'systemd-boot' },
    /"systemd-boot" needs EFI, which partitions does not support/,
  ],
  [
    'an owner on a FAT',
    [ESP, ROOT],
    { contents: [{ source: '/x', target: '/boot/x', user: 'root', group: 'root' }] },
    /contents\[0\]\.user: .* a FAT, which does not store owners/,
  ],
  [
    'an encrypted root without a boot partition',
    [{ type: 'bios-boot' }, ROOT],
    { encrypt: { passphraseFile: '/x' } },
    /encrypt: contradicts partitions: the boot loader cannot read/,
  ],
  [
    'a FAT that is not for booting beside an encrypted root',
    [{ filesystem: 'vfat', mountPoint: '/data' }, ROOT],
    { encrypt: { passphraseFile: '/x' } },
    /encrypt: contradicts partitions/,
  ],
  [
    'a subvolume of another filesystem',
    [ESP, { filesystem: 'ext4', subvolumes: [{ path: '@', mountPoint: '/' }] }],
    {},
    /partitions\[1\]\.subvolumes: contradicts filesystem "ext4"/,
  ],
  [
    'a subvolume twice',
    [ESP, { subvolumes: [{ path: '@', mountPoint: '/' }, { path: '/@' }] }],
    {},
    /partitions\[1\]\.subvolumes\[1\]\.path: is that of another one as well/,
  ],
  [
    'a mount point twice',
    [
      ESP,
      {
        subvolumes: [
          { path: 'a', mountPoint: '/' },
          { path: 'b', mountPoint: '/' },
        ],
      },
    ],
    {},
    /partitions\[1\]\.subvolumes\[1\]\.mountPoint: is that of another one as well/,
  ],
  [
    'a subvolume that leaves the filesystem',
    [ESP, { subvolumes: [{ path: '../x', mountPoint: '/' }] }],
    {},
    /partitions\[1\]\.subvolumes\[0\]\.path: must be a path such as "@home"/,
  ],
  [
    'subvolumes of which none is above the others',
    [
      ESP,
      ROOT,
      {
        subvolumes: [
          { path: 'a', mountPoint: '/srv' },
          { path: 'b', mountPoint: '/home' },
        ],
      },
    ],
    {},
    /partitions\[2\]\.subvolumes\[1\]\.mountPoint: \/home is not below \/srv/,
  ],
  [
    'a subvolume on another partition',
    [
      ESP,
      {
        subvolumes: [
          { path: 'a', mountPoint: '/' },
          { path: 'b', mountPoint: '/boot/x' },
        ],
      },
    ],
    {},
    /partitions\[1\]\.subvolumes\[1\]\.mountPoint: \/boot\/x is on the partition at \/boot/,
  ],
  [
    'a subvolume in memory',
    [
      ESP,
      {
        subvolumes: [
          { path: 'a', mountPoint: '/' },
          { path: 'b', mountPoint: '/run/x' },
        ],
      },
    ],
    {},
    /partitions\[1\]\.subvolumes\[1\]\.mountPoint: \/run\/x is not on a disk/,
  ],
  [
    'a subvolume in the directory that becomes it',
    [ESP, { mountPoint: '/', subvolumes: [{ path: 'home/of', mountPoint: '/home' }] }],
    {},
    /partitions\[1\]\.subvolumes\[0\]\.path: is inside of the directory whose files it would get/,
  ],
  [
    'the whole filesystem below its subvolume',
    [ESP, { mountPoint: '/top', subvolumes: [{ path: '@', mountPoint: '/' }] }],
    {},
    /partitions\[1\]\.mountPoint: is \/top: the whole filesystem can only be mounted above its subvolumes/,
  ],
  [
    'subvolumes beside files of a directory',
    [ESP, ROOT, { populateFrom: '/x', subvolumes: [{ path: '@' }] }],
    {},
    /partitions\[2\]\.subvolumes: contradicts populateFrom/,
  ],
  [
    'subvolumes with the builder VM',
    [ESP, { subvolumes: [{ path: '@', mountPoint: '/' }] }],
    { bootLoaderFrom: 'switch-to-configuration' },
    /partitions\[1\]\.subvolumes: contradicts bootLoaderFrom "switch-to-configuration"/,
  ],
  ['minimize with subvolumes', [ESP, { subvolumes: [{ path: '@', mountPoint: '/' }] }], { minimize: true }, /minimize/],
  [
    'a FAT that is too small for large sectors',
    [ESP, { filesystem: 'vfat', size: '96K', alignment: '4K', label: 'V' }, ROOT],
    { sectorSize: 4096 },
    /partitions\[1\]\.size: is less than the 128 KiB of the smallest vfat/,
  ],
  ['f2fs with large sectors as the root', [ESP, { ...ROOT, filesystem: 'f2fs' }], { sectorSize: 4096 }, /"f2fs"/],
])('%s is refused', (_, partitions, more, message) => {
  expect(problems(partitions, more)).toContainEqual(expect.stringMatching(message));
});

test.each<[string, Partitions, object]>([
  ['EFI', [ESP, ROOT], {}],
  ['BIOS, with GRUB in the root', [{ type: 'bios-boot' }, ROOT], {}],
  ['both', [{ type: 'bios-boot' }, ESP, ROOT], {}],
  ['a store of its own', [ESP, { mountPoint: '/nix/store', filesystem: 'xfs', label: 'store' }, ROOT], {}],
  ['shares', [ESP, { ...ROOT, weight: 1 }, { mountPoint: '/srv', weight: 2 }], { diskSize: '20G' }],
  [
    'subvolumes',
    [
      ESP,
      {
        subvolumes: [
          { path: '/rootfs', mountPoint: '/' },
          { path: '/home', mountPoint: '/home' },
          { path: '/home/user' },
        ],
      },
      { mountPoint: '/srv', subvolumes: [{ path: 'a', mountPoint: '/srv/a' }, { path: 'b' }], label: 'srv' },
    ],
    {},
  ],
  ['two ESPs', [ESP, { type: 'esp', mountPoint: '/boot2', label: 'ESP2' }, ROOT], {}],
  ['sectors of 4096 bytes', [ESP, { type: 'swap', size: '1G' }, ROOT], { sectorSize: 4096 }],
  [
    'with and without the VM',
    [ESP, { mountPoint: '/var' }, { mountPoint: '/var/lib' }, ROOT],
    { bootLoaderFrom: 'switch-to-configuration' },
  ],
])('%s is accepted', (_, partitions, more) => {
  expect(problems(partitions, more)).toEqual([]);
});
