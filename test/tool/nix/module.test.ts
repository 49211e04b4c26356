import { describe, expect, test } from 'vitest';
import { packageFile } from '../../../harness/cache-directory.ts';
import { udevName } from '../../../lib/nix/fstab.ts';
import { type ImageSpecInput, parseImageSpec } from '../../../lib/spec/image-spec.ts';
import { evaluate } from '../../helpers/nix/evaluate.ts';

/** Evaluates `select` of a configuration with the module. */
async function configured(module: string, select: string, which: 'module' | 'image' = 'image'): Promise<unknown> {
  return evaluate(
    `let system = import <nixpkgs/nixos> { configuration = { imports = [ (project + "/nix/${which}.nix") (${module}) ]; }; };
         config = system.config;
         specification = builtins.fromJSON (builtins.unsafeDiscardStringContext config.system.build.image.specification);
     in ${select}`,
  );
}

test.each([
  ['systemd-boot', '{ boot.loader.systemd-boot.enable = true; }', 'efi'],
  ['GRUB for BIOS', '{ boot.loader.grub = { enable = true; devices = [ "/dev/sda" ]; }; }', 'legacy'],
  [
    'GRUB for both',
    '{ boot.loader.grub = { enable = true; efiSupport = true; devices = [ "/dev/sda" ]; }; }',
    'hybrid',
  ],
  ['GRUB for EFI', '{ boot.loader.grub = { enable = true; efiSupport = true; devices = [ "nodev" ]; }; }', 'efi'],
])('the layout is the one for %s', async (_, module, layout) => {
  expect(await configured(module, 'specification.partitionTableType')).toBe(layout);
});

test('the system’s filesystems are those of the layout, regardless of the host’s configuration', async () => {
  const module = `{ boot.loader.systemd-boot.enable = true; nixosDiskImage.label = "site";
    fileSystems."/" = { device = "/dev/disk/by-uuid/0c9d"; fsType = "xfs"; }; }`;
  expect(await configured(module, 'config.fileSystems')).toEqual({
    '/': { device: '/dev/disk/by-label/site', fsType: 'ext4' },
    '/boot': { device: '/dev/disk/by-label/ESP', fsType: 'vfat' },
  });
  const other = '{ nixosDiskImage.partitionTableType = "efixbootldr"; }';
  expect(await configured(other, 'builtins.attrNames config.fileSystems')).toEqual(['/', '/boot', '/efi']);
});

test('the options are make-disk-image’s arguments', async () => {
  const module = `{
    boot.loader.systemd-boot.enable = true;
    image.baseName = "host";
    nixosDiskImage = {
      format = "vpc";
      sizeMultiple = "1G";
      bootLoaderTimeout = "none";
      minimize = true;
      contents = [ { source = "/etc/hostname"; target = "/etc/x"; mode = "600"; } ];
    };
  }`;
  const select =
    '{ inherit specification; file = config.system.build.image.filename; inherit (config.image) extension; }';
  expect(await configured(module, select)).toMatchObject({
    specification: {
      ...{ format: 'vpc', sizeMultiple: '1G', bootLoaderTimeout: 'none', baseName: 'host' },
      ...{ minimize: true, additionalSpace: '32M' },
      contents: [{ source: '/etc/hostname', target: '/etc/x', mode: '600' }],
    },
    file: 'host.vhd',
    extension: 'vhd',
  });
});

describe('own partitions', () => {
  const partitions = `[
    { type = "esp"; size = "300M"; mountPoint = "/boot"; }
    { type = "swap"; size = "1G"; }
    { mountPoint = "/data disk"; filesystem = "xfs"; attributes = [ "read-only" 2 ]; }
    { mountPoint = "/"; filesystem = "btrfs"; label = "site"; }
  ]`;

  test('the specification has what is set, and fileSystems what the tool makes of it', async () => {
    const module = `{ boot.loader.systemd-boot.enable = true; nixosDiskImage.partitions = ${partitions}; }`;
    const found = (await configured(
      module,
      '{ inherit specification; inherit (config) fileSystems swapDevices; }',
    )) as { specification: ImageSpecInput; fileSystems: Record<string, { device: string; fsType: string }> };
    expect(found.specification.partitions).toEqual([
      { type: 'esp', size: '300M', mountPoint: '/boot' },
      { type: 'swap', size: '1G' },
      { mountPoint: '/data disk', filesystem: 'xfs', attributes: ['read-only', 2] },
      { mountPoint: '/', filesystem: 'btrfs', label: 'site' },
    ]);
    expect(found.specification).not.toHaveProperty('partitionTableType');
    expect(found.specification.reproducible).toBe(false);
    const spec = parseImageSpec(found.specification);
    const made = (spec.partitions ?? []).filter(({ mountPoint }) => mountPoint !== undefined);
    expect(found.fileSystems).toEqual(
      Object.fromEntries(
        made.map(({ mountPoint, filesystem, filesystemLabel }) => [
          mountPoint,
          { device: `/dev/disk/by-label/${udevName(filesystemLabel)}`, fsType: filesystem },
        ]),
      ),
    );
    expect(found).toMatchObject({ swapDevices: [{ device: '/dev/disk/by-label/swap' }] });
  });

  test('subvolumes are mounted by their paths, beside the options of the host', async () => {
    const module = `{
      boot.loader.systemd-boot.enable = true;
      fileSystems."/home".options = [ "subvol=old" "compress=zstd" ];
      nixosDiskImage.partitions = [
        { type = "esp"; mountPoint = "/boot"; }
        { subvolumes = [ { path = "@"; mountPoint = "/"; } { path = "@home"; mountPoint = "/home"; } { path = "snapshots"; } ]; }
      ];
    }`;
    const found = (await configured(module, '{ inherit specification; inherit (config) fileSystems; }')) as {
      specification: ImageSpecInput;
    };
    const root = { device: '/dev/disk/by-label/nixos', fsType: 'btrfs' };
    expect(found).toMatchObject({
      fileSystems: {
        '/': { ...root, options: ['subvol=@'] },
        '/home': { ...root, options: ['subvol=old', 'compress=zstd', 'subvol=@home'] },
      },
    });
    expect(parseImageSpec(found.specification).partitions?.[1]).toMatchObject({
      ...{ filesystem: 'btrfs', filesystemLabel: 'nixos', mountPoint: '/' },
      subvolumes: [{ path: '@', mountPoint: '/' }, { path: '@home', mountPoint: '/home' }, { path: 'snapshots' }],
    });
  });

  test('labels are those of the tool, whatever is left out', async () => {
    const many = `[
      { type = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"; }
      { type = "esp"; mountPoint = "/efi"; }
      { type = "xbootldr"; mountPoint = "/boot"; }
      { mountPoint = "/a/very-long-name-of-a-directory"; }
      { mountPoint = "/b/short names only"; filesystem = "xfs"; }
      { mountPoint = "/exchange.dir-for-all"; filesystem = "vfat"; }
      { mountPoint = "/äö"; }
      { mountPoint = "/o"; label = "it's /(5%) <&>"; }
      { mountPoint = "/nix/store"; filesystem = "erofs"; compression = "lz4hc"; compressionLevel = 3; }
      { mountPoint = "/docs"; filesystem = "squashfs"; name = "all the docs"; }
      { mountPoint = "/more"; filesystem = "squashfs"; type = "srv"; }
      { mountPoint = "/"; }
    ]`;
    const fileSystems = await configured(
      `{ boot.loader.grub = { enable = true; devices = [ "nodev" ]; }; nixosDiskImage.partitions = ${many}; }`,
      'config.fileSystems',
    );
    const { partitions: own = [] } = parseImageSpec({
      toplevel: '/x',
      partitions: [
        { type: 'C12A7328-F81F-11D2-BA4B-00A0C93EC93B', label: 'OTHER' },
        { type: 'esp', mountPoint: '/efi' },
        { type: 'xbootldr', mountPoint: '/boot' },
        { mountPoint: '/a/very-long-name-of-a-directory' },
        { mountPoint: '/b/short names only', filesystem: 'xfs' },
        { mountPoint: '/exchange.dir-for-all', filesystem: 'vfat' },
        { mountPoint: '/äö' },
        { mountPoint: '/o', label: "it's /(5%) <&>" },
        { mountPoint: '/nix/store', filesystem: 'erofs', compression: 'lz4hc', compressionLevel: 3 },
        { mountPoint: '/docs', filesystem: 'squashfs', name: 'all the docs' },
        { mountPoint: '/more', filesystem: 'squashfs', type: 'srv' },
        { mountPoint: '/' },
      ],
    });
    expect(fileSystems).toEqual(
      Object.fromEntries(
        own.slice(1).map(({ mountPoint, filesystem, filesystemLabel: label, name }) => [
          mountPoint,
          {
            device: `/dev/disk/${label === '' ? `by-partlabel/${udevName(name)}` : `by-label/${udevName(label)}`}`,
            fsType: filesystem,
          },
        ]),
      ),
    );
  });

  test.each([
    ['a layout beside them', 'partitionTableType = "efi";', /partitionTableType: contradicts partitions/],
    ['a filesystem beside them', 'fsType = "ext4";', /fsType: contradicts partitions/],
    ['a misspelt option', 'partitions = [ { mountpoint = "/"; } ];', /partitions' is not of type/],
    ['no root', 'partitions = [ { type = "esp"; mountPoint = "/boot"; } ];', /has no partition with mountPoint "\/"/],
    ['no ESP', 'partitions = [ { mountPoint = "/"; } ];', /has no partition of type "esp"/],
  ])('evaluation reports %s', async (_, option, message) => {
    const set = option.startsWith('partitions') ? option : `partitions = ${partitions}; ${option}`;
    const module = `{ boot.loader.systemd-boot.enable = true; nixosDiskImage = { ${set} }; }`;
    await expect(configured(module, 'specification')).rejects.toThrow(message);
  });
});

const inMemory = 'fileSystems."/" = { device = "none"; fsType = "tmpfs"; };';

test.each<[string, string, RegExp]>([
  [
    'a root that is neither on a partition nor in memory',
    'fileSystems."/" = { device = "/dev/sda2"; fsType = "xfs"; };',
    /partitions: has no partition with mountPoint "\/", but fileSystems\."\/" is not a tmpfs: \/dev\/sda2 \(xfs\)/,
  ],
  ['no root at all', '', /is not a tmpfs: it is not set/],
  ['minimize', `${inMemory} nixosDiskImage.minimize = true;`, /minimize: needs a root on the disk/],
  [
    'encrypt',
    `${inMemory} nixosDiskImage.encrypt.passphraseFile = "/k";`,
    /encrypt: encrypts the root, and no partition has mountPoint "\/"/,
  ],
  [
    'configFile',
    `${inMemory} nixosDiskImage.configFile = "/etc/hostname";`,
    /configFile: would be lost: \/etc\/nixos is on no partition/,
  ],
  [
    'copyChannel',
    `${inMemory} nixosDiskImage.copyChannel = true;`,
    /copyChannel: would be lost: \/root is on no partition/,
  ],
  [
    'contents',
    `${inMemory} nixosDiskImage.contents = [ { source = "/etc/hostname"; target = "/nix/x"; } { source = "/etc/hostname"; target = "/srv//x"; } ];`,
    /make-disk-image:\n *contents\[1\]\.target: would be lost: \/srv\/\/x is on no partition/,
  ],
])('evaluation reports what a disk without a root cannot have: %s', async (_, options, message) => {
  const module = `{
    boot.loader.systemd-boot.enable = true;
    nixosDiskImage.partitions = [ { type = "esp"; mountPoint = "/boot"; } { mountPoint = "/nix"; } ];
    ${options}
  }`;
  await expect(configured(module, 'specification')).rejects.toThrow(message);
});

test('nixos-rebuild build-image builds the variant with this name', async () => {
  const module = '{ boot.loader.systemd-boot.enable = true; nixosDiskImage.format = "raw"; }';
  expect(
    await configured(module, 'builtins.mapAttrs (_: image: image.filename) config.system.build.images', 'module'),
  ).toEqual({
    'nixos-disk-image': 'nixos-image-25.11.demo.img',
  });
});

test.each([
  ['a value of the wrong type', '{ nixosDiskImage.partitionTableType = "gpt"; }', /partitionTableType' is not of type/],
  ['an unknown option', '{ nixosDiskImage.partitionTable = "efi"; }', /nixosDiskImage.partitionTable' does not exist/],
  [
    'a contradiction to the loader',
    '{ boot.loader.systemd-boot.enable = true; nixosDiskImage.partitionTableType = "legacy"; }',
    /partitionTableType: "legacy" does not support EFI/,
  ],
])('evaluation reports %s', async (_, module, message) => {
  await expect(configured(module, 'config.system.build.image.drvPath')).rejects.toThrow(message);
});

test('the documentation has every option of the module', async () => {
  const options = (await evaluate(`
    let
      options = (import (project + "/nix/options.nix") { config = { }; inherit lib; }).options.nixosDiskImage;
      show = name: option: {
        inherit name;
        inherit (option) description;
        type = option.type.description;
        default = option.defaultText or (builtins.toJSON option.default);
      };
    in lib.mapAttrsToList show options`)) as { name: string; type: string; default: string; description: string }[];
  const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('\n', ' ');
  const text = [
    '# Options of the NixOS module',
    '',
    'Made from `nix/options.nix` by `npx vitest run --project tool test/tool/nix --update`.',
    '',
    '| option of `nixosDiskImage` | type | default | |',
    '|---|---|---|---|',
    ...options.map(
      ({ name, type, default: preset, description }) =>
        `| \`${name}\` | ${cell(type)} | ${cell(preset)} | ${cell(description)} |`,
    ),
    '',
  ].join('\n');
  await expect(text).toMatchFileSnapshot(packageFile('docs/nix-options.md'));
});
