import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { ImageSpecInput } from '../../../lib/spec/image-spec.ts';
import { parseImageSpec } from '../../../lib/spec/image-spec.ts';
import { evaluate } from '../../helpers/nix/evaluate.ts';
import { tempDirectory } from '../../helpers/temp-directory.ts';

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
    'a passphrase in the store by another name',
    `{ boot.loader.systemd-boot.enable = true; nixosDiskImage.encrypt.passphraseFile = "/run/..//\${builtins.storeDir}/x"; }`,
    'config.system.build.imageScript.drvPath',
    /encrypt: \/run\/\.\.\S* is in the Nix store/,
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

test('a secret written as a path is refused, and not copied to the store', async () => {
  const [keys, store] = [await tempDirectory(), await tempDirectory()];
  const secret = join(keys, 'passphrase');
  await writeFile(secret, 'correct horse battery staple');
  const image = (file: string): Promise<unknown> =>
    evaluate(
      `(import (project + "/nix/make-disk-image-script.nix") {
        inherit pkgs lib;
        partitionTableType = "efi";
        copyChannel = false;
        encrypt.passphraseFile = ${file};
        config = (import <nixpkgs/nixos> { configuration.boot.loader.systemd-boot.enable = true; }).config;
      }).drvPath`,
      store,
    );
  const literal = `(/. + ${JSON.stringify(secret)})`;
  await expect(image(literal)).rejects.toThrow(
    `encrypt: ${secret} is written as a path, which Nix copies to its store, which everybody can read; write it as a string: "${secret}"`,
  );
  const names = async (): Promise<string[]> => readdir(join(store, 'nix/store')).catch(() => []);
  expect((await names()).filter((name) => name.endsWith('passphrase'))).toEqual([]);
  // The store would have it: this evaluation writes to it.
  await image(JSON.stringify(secret));
  expect((await names()).filter((name) => name.endsWith('.drv'))).not.toEqual([]);
});

test('what hosts say of the encrypted root does not replace what the image needs', async () => {
  const module = `{
    imports = [ (${SECRETS}) ];
    boot.initrd.luks.devices.cryptroot.device = "/dev/disk/by-uuid/ffffffff-0000-4000-8000-000000000000";
    nixosDiskImage.partitions = [
      { type = "esp"; size = "300M"; mountPoint = "/boot"; }
      { mountPoint = "/"; maxSize = "8G"; weight = 1; alignment = "4M"; padding = { size = "1M"; weight = 2; }; }
    ];
    nixosDiskImage.encrypt.keyDerivation = { type = "pbkdf2"; iterations = 2000; };
    nixosDiskImage.encrypt.sectorSize = 512;
  }`;
  const found = (await configured(module, '{ inherit specification; inherit (config.boot.initrd.luks) devices; }')) as {
    specification: ImageSpecInput;
  };
  expect(found).toMatchObject({
    devices: { cryptroot: { device: '/dev/disk/by-uuid/6d0c7b3e-2f61-4c0a-8f59-7b1d0f6a91e4' } },
    specification: {
      partitions: [{}, { weight: 1, maxSize: '8G', alignment: '4M', padding: { size: '1M', weight: 2 } }],
    },
  });
  expect(parseImageSpec(found.specification).encrypt).toMatchObject({
    keyDerivation: { type: 'pbkdf2', iterations: 2000 },
    sectorSize: 512,
  });
});
