import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { NoSpaceError } from '../../../../lib/run/errors.ts';
import { createDisk } from '../../../../lib/steps/create-disk.ts';
import { installSystemdBoot } from '../../../../lib/steps/install-systemd-boot.ts';
import { makeBootFilesystem } from '../../../../lib/steps/make-boot-filesystem.ts';
import { partitionDisk } from '../../../../lib/steps/partition-disk.ts';
import { MIB } from '../../../../lib/units.ts';
import { bootJson, type FakeSystem, fakeSystem, HASH, storePath } from '../../../helpers/fake-system.ts';
import { run } from '../../../helpers/run.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

const MTOOLS = { MTOOLSRC: '/dev/null', MTOOLS_SKIP_CHECK: '1' };

async function disk(partitionTableType: 'efi' | 'efixbootldr', bootSize = '24M') {
  const directory = await tempDirectory();
  const image = join(directory, 'disk.img');
  await createDisk({ image, sizeBytes: 160 * MIB });
  const { esp, xbootldr } = await partitionDisk({ image, partitionTableType, bootSize });
  if (esp === undefined) throw new Error('no ESP');
  await makeBootFilesystem({ image, partition: esp });
  if (xbootldr !== undefined) await makeBootFilesystem({ image, partition: xbootldr, label: 'BOOT' });
  const install = (system: FakeSystem, more: object = {}) =>
    installSystemdBoot({
      ...{ image, esp, xbootldr, generations: [{ number: 1, toplevel: system.toplevel }] },
      ...{ store: system.store, storePaths: system.storePaths },
      ...more,
    });
  const at = (partition: { offsetBytes: number } | undefined): string => `${image}@@${partition?.offsetBytes}`;
  const list = async (partition: { offsetBytes: number } | undefined): Promise<string[]> =>
    (await run(['mdir', '-b', '-/', '-a', '-i', at(partition), '::/'], { env: MTOOLS })).trim().split('\n').sort();
  const show = (file: string) => run(['mtype', '-i', at(xbootldr ?? esp), `::/${file}`], { env: MTOOLS });
  return { directory, image, esp, xbootldr, install, list, show, store: join(directory, 'store') };
}

test('every file has the path that NixOS uses, the ESP is valid, and installing again changes nothing', async () => {
  const { image, esp, install, list, show, store } = await disk('efi');
  const system = await fakeSystem(store);
  const installed = await install(system, { timestamp: 1, timeoutSeconds: 3, editor: false });
  expect(await list(esp)).toEqual(
    [
      '::/EFI/',
      '::/EFI/BOOT/',
      '::/EFI/BOOT/BOOTX64.EFI',
      '::/EFI/Linux/',
      '::/EFI/nixos/',
      '::/EFI/nixos/.extra-files/',
      `::/EFI/nixos/${HASH}-initrd-initrd.efi`,
      `::/EFI/nixos/${HASH}-linux-bzImage.efi`,
      '::/EFI/systemd/',
      '::/EFI/systemd/systemd-bootx64.efi',
      '::/loader/',
      '::/loader/entries.srel',
      '::/loader/entries/',
      '::/loader/entries/nixos-generation-1.conf',
      '::/loader/loader.conf',
    ].sort(),
  );
  expect(installed.defaultEntry).toBe('nixos-generation-1.conf');
  expect(await show('loader/loader.conf')).toBe(
    'timeout 3\ndefault nixos-generation-1.conf\neditor 0\nconsole-mode keep\n',
  );
  expect(await show('loader/entries/nixos-generation-1.conf')).toBe(
    [
      'title NixOS',
      'sort-key nixos',
      'version Generation 1 NixOS Fake 25.11, built on 1970-01-01',
      `linux /EFI/nixos/${HASH}-linux-bzImage.efi`,
      `initrd /EFI/nixos/${HASH}-initrd-initrd.efi`,
      `options init=${system.toplevel}/init console=ttyS0,115200n8 loglevel=4`,
      '',
    ].join('\n'),
  );
  await run(['dd', `if=${image}`, 'of=esp.fat', 'bs=1M', 'skip=8', 'count=16', 'status=none'], { cwd: store });
  await run(['fsck.vfat', '-n', 'esp.fat'], { cwd: store });
  const before = await readFile(image);
  await install(system, { timestamp: 1, timeoutSeconds: 3, editor: false });
  expect(await list(esp)).toHaveLength(15);
  expect(before.length).toBe(160 * MIB);
});

test('each generation and specialisation has an entry, on XBOOTLDR if there is one', async () => {
  const { esp, xbootldr, install, list, show, store } = await disk('efixbootldr', '130M');
  const special = bootJson({ kernelParams: ['quiet'], label: 'NixOS Fake 25.11 quiet' });
  const system = await fakeSystem(store, { json: bootJson({}, { quiet: special }) });
  const generations = [1, 7].map((number) => ({ number, toplevel: system.toplevel }));
  const installed = await install(system, { generations });
  expect(installed.defaultEntry).toBe('nixos-generation-7.conf');
  expect((await list(esp)).filter((name) => !name.endsWith('/'))).toEqual([
    '::/EFI/BOOT/BOOTX64.EFI',
    '::/EFI/systemd/systemd-bootx64.efi',
    '::/loader/loader.conf',
  ]);
  expect((await list(xbootldr)).filter((name) => name.includes('generation'))).toEqual([
    '::/loader/entries/nixos-generation-1-specialisation-quiet.conf',
    '::/loader/entries/nixos-generation-1.conf',
    '::/loader/entries/nixos-generation-7-specialisation-quiet.conf',
    '::/loader/entries/nixos-generation-7.conf',
  ]);
  const entry = await show('loader/entries/nixos-generation-7-specialisation-quiet.conf');
  expect(entry).toMatch(/^title NixOS \(quiet\)\n/);
  expect(entry).toMatch(/^options init=\S+\/init quiet$/m);
});

test.each([
  ['is missing', null, /boot\.json does not exist/],
  ['is malformed', '{', /boot\.json is not valid JSON/],
  [
    'lacks required fields',
    { 'org.nixos.bootspec.v1': { system: 'x86_64-linux' } },
    /malformed at org\.nixos\.bootspec\.v1 \/ init/,
  ],
  [
    'has a future version',
    { 'org.nixos.bootspec.v9': {} },
    /another version: expected org\.nixos\.bootspec\.v1, found org\.nixos\.bootspec\.v9/,
  ],
  ['is something else', { hello: 1 }, /has no org\.nixos\.bootspec\.v1/],
  [
    'points outside the closure',
    bootJson({ kernel: `${storePath('other')}/bzImage` }),
    /names the kernel .*-other\/bzImage, which is not in the closure/,
  ],
  ['points outside the store', bootJson({ initrd: '/etc/passwd' }), /must be a path in the Nix store/],
  [
    'leaves the store with ..',
    bootJson({ initrd: `${storePath('initrd')}/../../../etc/x` }),
    /which is not a file|not in the closure/,
  ],
  ['names a missing file', bootJson({ kernel: `${storePath('linux')}/gone` }), /gone, which is not a file/],
  [
    'has secrets',
    bootJson({ initrdSecrets: '/nix/store/x/append' }),
    /initrdSecrets[\s\S]*bootLoaderFrom "switch-to-configuration"/,
  ],
  ['has a line break', bootJson({ label: 'two\nlines' }), /must be one line/],
  [
    'has a specialisation that leaves its directory',
    bootJson({}, { '../../x': bootJson() }),
    /malformed at org\.nixos\.specialisation\.v1 \/ \.\.\/\.\.\/x/,
  ],
])('a boot.json that %s is refused, and nothing is written', async (_, json, message) => {
  const { esp, install, image, store } = await disk('efi');
  const system = await fakeSystem(store, { json, files: { [`${storePath('other')}/bzImage`]: 'k' } });
  const before = await readFile(image);
  await expect(install(system)).rejects.toThrow(message);
  await expect(install(system)).rejects.toMatchObject({ code: 'E_INVALID_OPTIONS' });
  expect((await readFile(image)).equals(before)).toBe(true);
  expect(esp.sizeBytes).toBe(16 * MIB);
});

test('an ESP too small for the kernel is reported with sizes, before anything is written', async () => {
  const { install, image, store } = await disk('efi');
  const system = await fakeSystem(store, { kernelBytes: 20 * MIB });
  const before = await readFile(image);
  const attempt = install(system);
  await expect(attempt).rejects.toThrow(NoSpaceError);
  await expect(attempt).rejects.toMatchObject({ neededBytes: expect.any(Number), availableBytes: expect.any(Number) });
  await expect(attempt).rejects.toThrow(
    /boot partition "ESP"; needed 21\d+ bytes[\s\S]*largest file is EFI\/nixos\/.*bzImage/,
  );
  expect((await readFile(image)).equals(before)).toBe(true);
});

test('a system without systemd-boot is reported as such', async () => {
  const { install, store } = await disk('efi');
  const system = await fakeSystem(store, { json: bootJson({ system: 'aarch64-linux' }) });
  await expect(install(system)).rejects.toThrow(/systemd-boot for aarch64-linux does not exist/);
});
