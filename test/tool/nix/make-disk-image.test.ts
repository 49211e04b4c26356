import { readFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { packageFile } from '../../../harness/cache-directory.ts';
import { PACKED_LABEL_BYTES } from '../../../lib/filesystem/packed-filesystem.ts';
import { LABEL_BYTES } from '../../../lib/filesystem/root-filesystem.ts';
import {
  FORMATS_OF_ANY_SECTORS,
  FORMATS_WITH_RANDOM_IDENTIFIERS,
  IMAGE_FORMATS,
  imageFileName,
} from '../../../lib/formats/image-formats.ts';
import { PARTITION_LAYOUTS } from '../../../lib/formats/layouts.ts';
import { evaluate } from '../../helpers/nix/evaluate.ts';

// Evaluates nix/make-disk-image.nix as nixpkgs' callers do. test/vm/nix builds with it.

/** An attribute of the derivation `image`; `specification` is the tool's input. */
async function made(args: string, select = 'specification', config = '{ }'): Promise<unknown> {
  return evaluate(`
    let
      base = {
        system.build.toplevel = builtins.toFile "toplevel" "";
        system.nixos = { version = "25.11"; versionSuffix = ".x"; };
      };
      config = base // (${config});
      image = import (project + "/nix/make-disk-image.nix") ({ inherit pkgs lib config; } // ${args});
      specification = builtins.fromJSON (builtins.unsafeDiscardStringContext image.specification);
    in ${select}`);
}

const refusal = async (args: string, config?: string): Promise<string> =>
  made(args, 'image.drvPath', config).then(
    () => 'nothing is refused',
    (error: unknown) => String(error),
  );

describe('nixpkgs’ callers, with their arguments', () => {
  // The arguments in nixos/modules/virtualisation, maintainers/scripts and tests.
  const CALLERS: Readonly<Record<string, [args: string, expected: object, filename: string]>> = {
    amazon: [
      `{ name = "nixos-amazon-image"; baseName = "ami"; format = "vpc"; partitionTableType = "legacy+gpt"; diskSize = "auto";
         contents = [ { source = ./x; target = "/etc/ec2"; } ]; configFile = "/etc/hostname"; postVM = "qemu-img info $diskImage"; }`,
      { format: 'vpc', partitionTableType: 'legacy+gpt', configFile: '/etc/hostname' },
      'ami.vhd',
    ],
    azure: [
      '{ name = "azure-image"; baseName = "nixos"; postVM = "qemu-img convert x"; configFile = "/etc/hostname"; format = "raw"; bootSize = "256M"; partitionTableType = "efi"; diskSize = 4096; contents = [ ]; }',
      { format: 'raw', diskSize: 4096, bootSize: '256M' },
      'nixos.img',
    ],
    gce: [
      '{ name = "google-compute-image"; format = "raw"; diskSize = "auto"; additionalSpace = "1G"; partitionTableType = "efi"; postVM = "tar -Sc disk.raw | gzip"; configFile = null; }',
      { additionalSpace: '1G', format: 'raw' },
      'nixos.img',
    ],
    'digital-ocean': [
      '{ name = "digital-ocean-image"; format = "qcow2"; postVM = "gzip $diskImage"; configFile = "/etc/hostname"; diskSize = "auto"; }',
      { format: 'qcow2', partitionTableType: 'legacy' },
      'nixos.qcow2',
    ],
    hyperv: [
      '{ name = "hyperv-image"; format = "raw"; partitionTableType = "efi"; diskSize = "auto"; postVM = "qemu-img convert -o subformat=dynamic -O vhdx a b"; }',
      { partitionTableType: 'efi' },
      'nixos.img',
    ],
    vmware: [
      '{ name = "vmware-image"; format = "vmdk"; partitionTableType = "efi"; diskSize = "auto"; }',
      { format: 'vmdk' },
      'nixos.vmdk',
    ],
    oci: [
      '{ name = "oci-image"; format = "qcow2"; configFile = "/etc/hostname"; diskSize = 8192; partitionTableType = "efi"; }',
      { diskSize: 8192 },
      'nixos.qcow2',
    ],
    openstack: [
      '{ name = "openstack-image"; additionalSpace = "1024M"; pkgs = pkgs; format = "qcow2"; configFile = "/etc/hostname"; copyChannel = true; }',
      { additionalSpace: '1024M' },
      'nixos.qcow2',
    ],
    cloudstack: ['{ name = "cloudstack-image"; format = "qcow2"; configFile = "/etc/hostname"; }', {}, 'nixos.qcow2'],
    hcloud: ['{ name = "hcloud"; format = "qcow2"; partitionTableType = "hybrid"; }', {}, 'nixos.qcow2'],
    kubevirt: ['{ format = "qcow2"; }', { format: 'qcow2' }, 'nixos.qcow2'],
    linode: [
      '{ name = "linode-image"; format = "raw"; partitionTableType = "none"; postVM = "gzip -6 -c -- $diskImage"; configFile = "/etc/hostname"; diskSize = "auto"; }',
      { partitionTableType: 'none' },
      'nixos.img',
    ],
    proxmox: [
      '{ name = "proxmox-x"; diskSize = "4096"; partitionTableType = "efi"; bootSize = "256M"; additionalSpace = "512M"; postVM = "echo vma"; }',
      { diskSize: 4096 },
      'nixos.img',
    ],
    virtualbox: [
      '{ name = "nixos-ova"; additionalSpace = "100M"; partitionTableType = "legacy"; diskSize = 50 * 1024; postVM = "VBoxManage"; }',
      { diskSize: 51200 },
      'nixos.img',
    ],
    incus: [
      '{ format = "qcow2-compressed"; copyChannel = true; partitionTableType = "efi"; }',
      { format: 'qcow2-compressed' },
      'nixos.qcow2',
    ],
    'qemu-vm': [
      `{ additionalPaths = [ (builtins.toFile "x" "") ]; additionalSpace = "0M"; diskSize = "auto"; label = "nixos"; partitionTableType = "efi";
         installBootLoader = false; touchEFIVars = true; copyChannel = false; format = "qcow2"; onlyNixStore = false; }`,
      { additionalSpace: '0M', installBootLoader: false, touchEFIVars: true, label: 'nixos' },
      'nixos.qcow2',
    ],
    'qemu-vm, the store alone': [
      '{ onlyNixStore = true; label = "nix-store"; partitionTableType = "none"; installBootLoader = false; diskSize = "auto"; additionalSpace = "0M"; copyChannel = false; }',
      { onlyNixStore: true, label: 'nix-store' },
      'nixos.img',
    ],
    'grow-partition': [
      '{ diskSize = "auto"; additionalSpace = "0M"; format = "qcow2"; partitionTableType = "hybrid"; }',
      {},
      'nixos.qcow2',
    ],
    'image-contents': [
      `{ contents = [ { source = ./x; target = "/testdir"; mode = "755"; user = "1234"; group = "1235"; } ]; format = "qcow2"; diskSize = "auto"; }`,
      { contents: [expect.objectContaining({ target: '/testdir', user: '1234' })] },
      'nixos.qcow2',
    ],
    'populateRootWith as nixpkgs presets it': ['{ populateRootWith = "cptofs"; }', { reproducible: true }, 'nixos.img'],
  };

  test.each(Object.entries(CALLERS))('%s', async (_, [args, expected, filename]) => {
    const given = args.replaceAll('./x', '(builtins.toFile "x" "")');
    expect(await made(given)).toMatchObject(expected);
    expect(await made(given, 'image.filename')).toBe(filename);
  });

  test('a minimized root has room for the first boot, or what is given', async () => {
    expect(await made('{ minimize = true; }')).toMatchObject({ minimize: true, additionalSpace: '32M' });
    expect(await made('{ minimize = true; additionalSpace = "0M"; }')).toMatchObject({ additionalSpace: '0M' });
  });

  test('each has its row in the documentation', async () => {
    const text = await readFile(packageFile('docs/nix.md'), 'utf8');
    for (const caller of Object.keys(CALLERS)) expect(text).toContain(`| ${caller} |`);
  });
});

describe('the image is an ordinary derivation', () => {
  test('it has meta, passthru, outputs and overrideAttrs', async () => {
    const select = `{
      inherit (image) type name outputs system filename;
      inherit (image.meta) description;
      passthru = image.passthru.filename;
      renamed = (image.overrideAttrs (_: { name = "other"; })).name;
      features = image.requiredSystemFeatures or [ ];
    }`;
    expect(await made('{ name = "site"; meta.description = "an image"; }', select)).toEqual({
      ...{ type: 'derivation', name: 'site', outputs: ['out'], system: 'x86_64-linux', filename: 'nixos.img' },
      ...{ description: 'an image', passthru: 'nixos.img', renamed: 'other', features: [] },
    });
  });

  test('Hydra gets a file in the format that qemu-img wrote', async () => {
    expect(await made('{ format = "qcow2-compressed"; }', 'image.buildCommand')).toContain('file qcow2-image');
    expect(await made('{ format = "vpc"; }', 'image.buildCommand')).toContain('file vpc-image');
  });

  test('the channel keeps its path and the modes of its files', async () => {
    expect(await made('{ }', 'specification.channel')).toMatch(/-nixos-25\.11$/);
    expect(await made('{ copyChannel = false; }', 'specification ? channel')).toBe(false);
  });
});

const GRUB = (more: string): string => `{ boot.loader.grub = { enable = true; devices = [ "/dev/sda" ]; ${more} }; }`;
const SYSTEMD_BOOT = (more = ''): string =>
  `{ boot.loader.systemd-boot = { enable = true; ${more} }; boot.loader.efi.efiSysMountPoint = "/boot"; }`;

test.each<[string, string, string, RegExp]>([
  ['an unknown layout', '{ partitionTableType = "gpt"; }', '{ }', /partitionTableType: is "gpt"; must be one of "efi"/],
  ['a filesystem', '{ fsType = "ext3"; }', '{ }', /fsType: is "ext3"/],
  ['a format', '{ format = "iso"; }', '{ }', /format: is "iso"/],
  ['a size', '{ bootSize = "lots"; }', '{ }', /bootSize: "lots" is not a size/],
  ['sectors of another size', '{ sectorSize = 1024; }', '{ }', /sectorSize: is 1024; must be one of 512, 4096/],
  [
    'large sectors for a BIOS',
    '{ sectorSize = 4096; partitionTableType = "hybrid"; }',
    '{ }',
    /sectorSize: 4096 contradicts/,
  ],
  [
    'large sectors in a VHD',
    '{ sectorSize = 4096; partitionTableType = "efi"; format = "vpc"; }',
    '{ }',
    /sectorSize: 4096 contradicts format "vpc"/,
  ],
  ['minimize with a size', '{ minimize = true; diskSize = "2G"; }', '{ }', /minimize: contradicts diskSize/],
  [
    'minimize of another filesystem',
    '{ minimize = true; fsType = "xfs"; }',
    '{ }',
    /minimize: contradicts fsType "xfs"/,
  ],
  ['a disk', '{ diskSize = "20 GB"; }', '{ }', /diskSize: "20 GB" is not "auto"/],
  [
    'a boot partition beyond the end of the disk',
    '{ partitionTableType = "efi"; diskSize = "200"; bootSize = "256M"; }',
    '{ }',
    /bootSize: the boot partition would end at 256M/,
  ],
  ['deterministic without rootFSUID', '{ rootFSUID = null; rootFSHashSeed = null; }', '{ }', /rootFSUID: is required/],
  [
    'random and given identifiers',
    '{ deterministic = false; rootFSUID = "22222222-ded1-49fa-b591-20ce86a2fe7f"; }',
    '{ }',
    /rootFSUID: contradicts deterministic = false/,
  ],
  ['touchEFIVars without a GPT', '{ touchEFIVars = true; }', '{ }', /touchEFIVars: is supported only with/],
  ['onlyNixStore with a loader', '{ onlyNixStore = true; }', '{ }', /onlyNixStore: contents must be empty/],
  [
    'a user without a group',
    '{ contents = [ { source = "/x"; target = "/x"; user = "a"; } ]; }',
    '{ }',
    /contents\[0\]: user and group must be given together/,
  ],
  [
    'a target that leaves the root',
    '{ contents = [ { source = "/x"; target = "/../x"; } ]; }',
    '{ }',
    /contents\[0\]\.target: \/\.\.\/x leaves the root/,
  ],
  [
    'an owner on a FAT',
    '{ partitionTableType = "efi"; contents = [ { source = "/x"; target = "/boot/x"; mode = "600"; } ]; }',
    '{ }',
    /is on a FAT/,
  ],
  [
    'an unknown user',
    '{ contents = [ { source = "/x"; target = "/x"; user = "alice"; group = "users"; } ]; }',
    '{ users = { users = { }; groups.users.gid = 100; }; }',
    /contents\[0\]\.user: the system does not declare the user alice/,
  ],
  [
    'a user without a number',
    '{ contents = [ { source = "/x"; target = "/x"; user = "alice"; group = "users"; } ]; }',
    '{ users = { users.alice.uid = null; groups.users.gid = 100; }; }',
    /set users\.users\.alice\.uid/,
  ],
  ['reproducible with a vhdx', '{ format = "vhdx"; reproducible = true; }', '{ }', /reproducible: needs/],
  ['a label', '{ label = "a label of more than sixteen"; }', '{ }', /label: .* is longer than the 16 bytes/],
  ['secrets of the initrd', '{ }', '{ boot.initrd.secrets."/key" = "/key"; }', /boot\.initrd\.secrets: .* needs a VM/],
  ['limine', '{ }', '{ boot.loader.limine.enable = true; }', /boot\.loader\.limine: its installer needs a VM/],
  ['lanzaboote', '{ }', '{ boot.lanzaboote.enable = true; }', /boot\.lanzaboote\.enable/],
  [
    'GRUB for BIOS without a place for its core image',
    '{ partitionTableType = "efi"; }',
    GRUB(''),
    /boot\.loader\.grub\.devices: "efi" has no place/,
  ],
  [
    'GRUB for EFI without an ESP',
    '{ }',
    GRUB('efiSupport = true;'),
    /boot\.loader\.grub\.efiSupport: "legacy" has no EFI/,
  ],
  ['GRUB’s commands', '{ }', GRUB('extraInstallCommands = "true";'), /boot\.loader\.grub\.extraInstallCommands/],
  ['GRUB’s encrypted disks', '{ }', GRUB('enableCryptodisk = true;'), /boot\.loader\.grub\.enableCryptodisk/],
  ['GRUB’s mirrors', '{ }', GRUB('mirroredBoots = [ { } { } ];'), /boot\.loader\.grub\.mirroredBoots/],
  [
    'GRUB’s password files',
    '{ }',
    GRUB('users.root.hashedPasswordFile = "/run/x";'),
    /users\.root\.hashedPasswordFile/,
  ],
  ['systemd-boot without EFI', '{ }', SYSTEMD_BOOT(), /"legacy" does not support EFI, which systemd-boot needs/],
  [
    'systemd-boot’s commands',
    '{ partitionTableType = "efi"; }',
    SYSTEMD_BOOT('extraInstallCommands = "x";'),
    /boot\.loader\.systemd-boot\.extraInstallCommands/,
  ],
  [
    'another ESP',
    '{ partitionTableType = "efixbootldr"; }',
    SYSTEMD_BOOT(),
    /efiSysMountPoint: is \/boot, but the ESP of "efixbootldr" is \/efi/,
  ],
])('evaluation fails for %s', async (_, args, config, message) => {
  expect(await refusal(args, config)).toMatch(message);
});

test('all problems are reported at once', async () => {
  expect(await refusal('{ fsType = "ext3"; format = "iso"; touchEFIVars = true; }')).toMatch(
    /fsType: [\s\S]*format: [\s\S]*touchEFIVars: /,
  );
});

test('no loader is checked if none is installed', async () => {
  expect(await refusal('{ installBootLoader = false; }', SYSTEMD_BOOT())).toBe('nothing is refused');
});

test('options that a NixOS release has removed are ignored', async () => {
  const removed = '(throw "The option can no longer be used since it has been removed")';
  const config = `{ boot.loader.raspberryPi = ${removed}; boot.loader.initScript.enable = ${removed}; }`;
  expect(await refusal('{ }', config)).toBe('nothing is refused');
});

test('the layouts are those of the tool', async () => {
  const layouts = (await evaluate('import (project + "/nix/layouts.nix")')) as Record<string, unknown>;
  const expected = Object.fromEntries(
    Object.entries(PARTITION_LAYOUTS).map(([type, { table, bios, efi, usesBootSize, partitions }]) => {
      const at = (role: string): string | undefined => partitions.find((one) => one.role === role)?.mountPoint;
      const esp = at('esp') ?? null;
      return [
        type,
        { bios, efi, gpt: table === 'gpt', bootSize: usesBootSize, esp, boot: at('xbootldr') ?? at('boot') ?? esp },
      ];
    }),
  );
  expect(layouts).toEqual(expected);
});

test('the formats and the root filesystems are those of the tool', async () => {
  const formats = Object.fromEntries(
    IMAGE_FORMATS.map((format) => {
      const isReproducible = !FORMATS_WITH_RANDOM_IDENTIFIERS.includes(format);
      const hasAnySectors = FORMATS_OF_ANY_SECTORS.includes(format);
      return [format, { extension: imageFileName('x', format).slice('x.'.length), isReproducible, hasAnySectors }];
    }),
  );
  expect(await evaluate('import (project + "/nix/formats.nix")')).toEqual(formats);
  expect(await evaluate('import (project + "/nix/filesystems.nix")')).toEqual(LABEL_BYTES);
  expect(await evaluate('import (project + "/nix/packed-filesystems.nix")')).toEqual(PACKED_LABEL_BYTES);
});

test.each([
  ['bootLoader', '"grub"'],
  ['bootLoaderTimeout', '3'],
  ['consoleMode', '"max"'],
  ['editor', 'false'],
  ['timeoutStyle', '"hidden"'],
])('%s is refused if no boot loader is installed', async (name, value) => {
  const message = `${name}: contradicts installBootLoader = false`;
  expect(await refusal(`{ installBootLoader = false; ${name} = ${value}; }`, '{ }')).toContain(message);
});
