import { cp, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { packageFile } from '../../../harness/cache-directory.ts';
import { renderText } from '../../../harness/report/text.ts';
import { checkFirmwareMode } from '../../../harness/verify/checks.ts';
import { verifyBoot } from '../../../harness/verify/verify-boot.ts';
import { inspectImage } from '../../../lib/inspect/inspect-image.ts';
import { codeBlock } from '../../helpers/code-blocks.ts';
import { type DropIn, prepareDropIn } from '../../helpers/nix/drop-in.ts';
import { run } from '../../helpers/run.ts';
import { tempDirectory } from '../../helpers/temp-directory.ts';

let dropIn: DropIn;
beforeAll(async () => {
  dropIn = await prepareDropIn();
});

test('a sandboxed nix-build makes an image that boots in BIOS and EFI, and --check rebuilds it identically', async () => {
  const system = { flavour: 'tiny', variant: 'grub-hybrid' };
  const options = `{
    partitionTableType = "hybrid";
    additionalSpace = "64M";
    bootSize = "128M";
    bootLoaderTimeout = 0;
    contents = [ { source = ./hello.txt; target = "/srv/hello.txt"; mode = "640"; user = "nobody"; group = "nogroup"; } ];
  }`.replace('./hello.txt', 'builtins.toFile "hello.txt" "hello\\n"');
  const output = await dropIn.build({ ...system, arguments: options });
  const image = join(output, 'nixos.img');
  expect(await readFile(join(output, 'nix-support/hydra-build-products'), 'utf8')).toBe(
    `file raw-image ${output.slice(output.indexOf('/nix/store/'))}/nixos.img\n`,
  );
  for (const firmware of ['bios', 'efi'] as const) {
    const report = await verifyBoot({
      image,
      firmware,
      checks: [
        checkFirmwareMode(firmware),
        {
          name: 'what the arguments say',
          async run(machine) {
            await machine.succeed('grep -q hello /srv/hello.txt');
            expect(await machine.succeed("stat -c '%a %U %G' /srv/hello.txt")).toBe('640 nobody nogroup');
            expect(await machine.succeed('ls /root/.nix-defexpr/channels/nixos')).toContain('pkgs.nix');
            // The modes of the channel's files count too.
            await machine.succeed('test -x /root/.nix-defexpr/channels/nixos/stdenv.sh');
            return undefined;
          },
        },
      ],
    });
    expect(report.ok, renderText(report)).toBe(true);
  }
  // Nix compares the two outputs bit by bit and fails if they differ.
  expect(await dropIn.build({ ...system, arguments: options }, ['--check'])).toBe(output);
});

test('formats, EFI variables, the hook and identifiers are arguments as in nixpkgs', async () => {
  const output = await dropIn.build({
    flavour: 'tiny',
    variant: 'systemd-boot',
    arguments: `{
      name = "site";
      baseName = "host";
      format = "qcow2-compressed";
      partitionTableType = "efi";
      additionalSpace = "64M";
      touchEFIVars = true;
      copyChannel = false;
      rootFSUID = "12345678-1234-1234-1234-123456789abc";
      memSize = 2048;
      postVM = ''
        test -f "$diskImage"
        echo "made $diskImage, $(sectorsToBytes 3), $(sectorsToKilobytes 4)" > $out/note
        # As in nixpkgs, what fails on the way and what is not set end nothing.
        false
        echo "$notSet" >> $out/note
        for program in parted partx mkfs.ext4 rsync nix; do type -p $program > /dev/null || exit 3; done
      '';
    }`,
  });
  expect(output).toMatch(/-site$/);
  expect((await readdir(output)).sort()).toEqual(['efi-vars.fd', 'host.qcow2', 'nix-support', 'note']);
  expect(await readFile(join(output, 'note'), 'utf8')).toMatch(/^made .*host\.qcow2, 1536, 2\n\n$/);
  const { partitions, format } = await inspectImage({ image: join(output, 'host.qcow2') });
  expect(format).toBe('qcow2');
  expect(partitions[1]?.filesystem?.uuid).toBe('12345678-1234-1234-1234-123456789abc');
  expect(partitions.map(({ filesystem }) => filesystem?.label)).toEqual(['ESP', 'nixos']);
  const report = await verifyBoot({
    image: join(output, 'host.qcow2'),
    firmware: 'efi',
    efiVariables: join(output, 'efi-vars.fd'),
  });
  expect(report.ok, renderText(report)).toBe(true);
});

/** A directory with an expression in the docs, a configuration, and this project. @returns the expression's file. */
async function expressionInDocs(beginning: string): Promise<string> {
  const directory = await tempDirectory();
  const file = join(directory, 'image.nix');
  await writeFile(file, codeBlock(beginning).text);
  await writeFile(join(directory, 'configuration.nix'), '{ }');
  for (const name of [
    'nix',
    'cli',
    'lib',
    'harness',
    'vm-images',
    'LICENSE',
    'package.json',
    'package-lock.json',
    'tsconfig.json',
  ])
    await cp(packageFile(name), join(directory, 'nixos-disk-image', name), { recursive: true });
  return file;
}

test('the expression in the docs', async () => {
  const file = await expressionInDocs('# image.nix');
  const { findings, format } = await inspectImage({ image: join(await dropIn.buildFile(file), 'nixos.qcow2') });
  expect([format, findings]).toEqual(['qcow2', []]);
});

test('the program in the docs, for an image with secrets', async () => {
  const output = await dropIn.buildFile(await expressionInDocs('# image-script.nix'));
  expect(JSON.parse(await readFile(join(output, 'share/image.json'), 'utf8'))).toMatchObject({
    encrypt: { passphraseFile: '/root/disk.passphrase' },
    secureBoot: { key: '/root/keys/db.key', certificate: '/root/keys/db.crt' },
  });
  const [shell, command] = (await readFile(join(output, 'bin/build-image'), 'utf8')).split('\n');
  expect(shell).toMatch(/^#!\/nix\/store\/\S+$/);
  const inStore = output.slice(output.indexOf('/nix/store/'));
  expect(command).toMatch(
    new RegExp(`^exec /nix/store/\\S+/bin/nixos-disk-image build ${inStore}/share/image.json "\\$@"$`),
  );
});

test('what such a program builds is encrypted with the secret of the user who runs it', async () => {
  const directory = await tempDirectory();
  const passphraseFile = join(directory, 'passphrase');
  await writeFile(passphraseFile, 'correct horse');
  const output = await dropIn.build({
    ...{ flavour: 'tiny', variant: 'systemd-boot-luks' },
    arguments: `{
      asScript = true; partitionTableType = "efi"; additionalSpace = "64M"; copyChannel = false;
      encrypt = { passphraseFile = ${JSON.stringify(passphraseFile)}; keyDerivation = { type = "pbkdf2"; iterations = 1000; }; };
    }`,
  });
  const store = output.slice(0, output.indexOf('/nix/store/'));
  // The program itself needs the store at /nix/store.
  const specification = JSON.parse(await readFile(join(output, 'share/image.json'), 'utf8'));
  const own = join(directory, 'image.json');
  await writeFile(own, JSON.stringify({ ...specification, closureInfo: `${store}${specification.closureInfo}` }));
  const program = [process.execPath, packageFile('dist/cli/main.js'), 'build', own];
  await run([...program, '--store', store, '--out', directory]);
  const image = join(directory, 'nixos.img');
  expect((await inspectImage({ image, passphraseFile })).generations).toHaveLength(1);
  expect((await inspectImage({ image })).generations).toHaveLength(0);
});

test('a hook that fails fails the build', async () => {
  const build = dropIn.build({
    ...{ flavour: 'tiny', variant: 'none' },
    arguments: '{ additionalSpace = "16M"; copyChannel = false; postVM = "true; false"; }',
  });
  await expect(build).rejects.toThrow(/postVM: exit status 1 of: false/);
});

test('a flake check boots the image of a configuration and keeps the report', async () => {
  const directory = await tempDirectory();
  const file = join(directory, 'check.nix');
  const project = packageFile('.');
  const check = (more: string): string => `
    let
      pkgs = import <nixpkgs> { };
      system = import <nixpkgs/nixos> {
        configuration = {
          imports = [ ${project}/nix/module.nix ];
          boot.loader.systemd-boot.enable = true;
          nixosDiskImage = { additionalSpace = "64M"; bootSize = "128M"; bootLoaderTimeout = 0; format = "qcow2"; };
        };
      };
    in
    import ${project}/nix/verify-boot.nix {
      inherit pkgs;
      image = system.config.system.build.images.nixos-disk-image;
      ${more}
    }`;
  await writeFile(
    file,
    check(`checks = [ "test -d /nix/store" "[ it\\'s = it\\'s ]" ]; firmware = "efi"; memory = 512;`),
  );
  const output = await dropIn.buildFile(file);
  expect((await readdir(output)).sort()).toEqual([
    'console.log',
    'junit.xml',
    'nix-support',
    'report.html',
    'report.json',
  ]);
  const [report] = JSON.parse(await readFile(join(output, 'report.json'), 'utf8')) as [
    { ok: boolean; firmware: string },
  ];
  expect(report).toMatchObject({ ok: true, firmware: 'efi' });
  await writeFile(file, check('checks = [ "test -e /not/there" ];'));
  await expect(dropIn.buildFile(file)).rejects.toThrow(/does not boot correctly/);
});

test('the package prints its version, and its tests pass', async () => {
  const file = join(await tempDirectory(), 'test.nix');
  await writeFile(file, `((import <nixpkgs> { }).callPackage ${packageFile('nix/package.nix')} { }).tests.version`);
  expect(await readFile(await dropIn.buildFile(file), 'utf8')).toMatch(/^\d+\.\d+\.\d+\n$/);
  await writeFile(file, `(import <nixpkgs> { }).callPackage ${packageFile('nix/package.nix')} { }`);
  const share = join(await dropIn.buildFile(file), 'share');
  for (const name of [
    'bash-completion/completions/nixos-disk-image.bash',
    'zsh/site-functions/_nixos-disk-image',
    'fish/vendor_completions.d/nixos-disk-image.fish',
  ])
    expect(await readFile(join(share, name), 'utf8'), name).toContain('partition-table-type');
});
