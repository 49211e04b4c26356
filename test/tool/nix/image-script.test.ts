import { expect, test } from 'vitest';
import type { ImageSpecInput } from '../../../lib/spec/image-spec.ts';
import { parseImageSpec } from '../../../lib/spec/image-spec.ts';
import { evaluate } from '../../helpers/nix/evaluate.ts';

// Images with secrets are built by a program outside of Nix. test/vm/nix runs it.

async function configured(module: string, select: string): Promise<unknown> {
  return evaluate(
    `let system = import <nixpkgs/nixos> { configuration = { imports = [ (project + "/nix/image.nix") (${module}) ]; }; };
         config = system.config;
         specification = builtins.fromJSON (builtins.unsafeDiscardStringContext config.system.build.imageScript.specification);
     in ${select}`,
  );
}

const SECRETS = `{
  boot.loader.systemd-boot.enable = true;
  nixosDiskImage = {
    format = "raw";
    encrypt = { passphraseFile = "/run/keys/disk"; recoveryKeyFile = "/root/recovery"; };
    secureBoot = { key = "/root/db.key"; certificate = "/root/db.pem"; platformKey = { key = "/root/pk.key"; certificate = "/root/pk.pem"; }; };
  };
}`;

test('the specification names the secrets, and the system opens the root by what it says', async () => {
  const found = (await configured(
    SECRETS,
    '{ inherit specification; inherit (config) fileSystems; inherit (config.boot.initrd.luks) devices; inherit (config.system.build.imageScript.meta) mainProgram; }',
  )) as { specification: ImageSpecInput };
  const uuid = '6d0c7b3e-2f61-4c0a-8f59-7b1d0f6a91e4';
  expect(found).toMatchObject({
    mainProgram: 'build-image',
    specification: { reproducible: false },
    devices: { cryptroot: { device: `/dev/disk/by-uuid/${uuid}` } },
    fileSystems: {
      '/': { device: '/dev/mapper/cryptroot', fsType: 'ext4' },
      '/boot': { device: '/dev/disk/by-label/ESP', fsType: 'vfat' },
    },
  });
  expect(parseImageSpec(found.specification)).toMatchObject({
    encrypt: { passphraseFile: '/run/keys/disk', recoveryKeyFile: '/root/recovery', name: 'cryptroot', uuid },
    secureBoot: {
      ...{ key: '/root/db.key', certificate: '/root/db.pem', way: 'uki', enroll: 'none' },
      platformKey: { key: '/root/pk.key', certificate: '/root/pk.pem' },
    },
  });
});

test.each<[string, string, string, RegExp]>([
  [
    'a derivation',
    SECRETS,
    'config.system.build.image.drvPath',
    /encrypt: names secrets, which a derivation cannot read/,
  ],
  [
    'a passphrase in the store',
    `{ boot.loader.systemd-boot.enable = true; nixosDiskImage.encrypt.passphraseFile = "\${builtins.toFile "x" "secret"}"; }`,
    'config.system.build.imageScript.drvPath',
    /encrypt: .*-x is in the Nix store, which everybody can read/,
  ],
  [
    'a key in the store',
    `{ boot.loader.systemd-boot.enable = true; nixosDiskImage.secureBoot = { certificate = "/c"; key = "\${builtins.toFile "x" ""}"; }; }`,
    'config.system.build.imageScript.drvPath',
    /secureBoot: .*-x is in the Nix store/,
  ],
  [
    'postVM',
    '{ boot.loader.systemd-boot.enable = true; nixosDiskImage.postVM = "true"; }',
    'config.system.build.imageScript.drvPath',
    /postVM: is supported only in a derivation/,
  ],
])('refused by name: %s', async (_, module, select, message) => {
  await expect(configured(module, select)).rejects.toThrow(message);
});
