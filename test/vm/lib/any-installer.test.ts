import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { startBuilderVm } from '../../../harness/builder/builder-vm.ts';
import { buildImage } from '../../../lib/build/build-image.ts';
import { extractFilesystem } from '../../../lib/steps/extract-filesystem.ts';
import { PRIVATE_NIX } from '../../../vm-images/debian-packages.ts';
import { run } from '../../helpers/run.ts';
import { tempDirectory } from '../../helpers/temp-directory.ts';

// The builder VM gives an installer the same environment as make-disk-image. The system's switch-to-configuration records what it
// sees.

const HASH = 'abcdfghijklmnpqrsvwxyz0123456789';
const SYSTEM = `/nix/store/${HASH}-nixos-system-recorder`;
const SHELL = `/nix/store/1${HASH.slice(1)}-busybox`;
const CONFIG = `/nix/store/2${HASH.slice(1)}-grub-config.xml`;

const RECORD = `#!${SHELL}/bin/busybox sh
export PATH=${SHELL}/bin
say() { busybox echo "$@" >> /var/recorded; }
say "home $HOME"
say "install $NIXOS_INSTALL_BOOTLOADER"
for device in /dev/sda '/dev/disk/by-id/ata-A&B'; do say "device $device $(busybox readlink -f "$device")"; done
say "boot $(busybox grep -c ' /boot ' /proc/mounts)"
say "staged $(busybox ls -A /tmp)"
busybox touch "$HOME/.nix-defexpr" /run/left /tmp/left
busybox mkdir -p /boot/loader
busybox dd if=/dev/urandom of=/boot/loader/random-seed bs=32 count=1 2>/dev/null
busybox touch /boot/loader/entry
`;

/** A private store with the system, and its closureInfo. */
async function recorder(): Promise<{ readonly store: string; readonly closureInfo: string }> {
  const store = await tempDirectory();
  const at = (path: string): string => join(store, path);
  await mkdir(at(`${SYSTEM}/bin`), { recursive: true });
  await mkdir(at(`${SHELL}/bin`), { recursive: true });
  await run(['cp', '/bin/busybox', at(`${SHELL}/bin/busybox`)]);
  await writeFile(at(`${SYSTEM}/init`), '#!/bin/sh\n', { mode: 0o755 });
  await writeFile(at(`${SYSTEM}/activate`), `#!${SHELL}/bin/busybox sh\n`, { mode: 0o755 });
  await writeFile(at(`${SYSTEM}/bin/switch-to-configuration`), RECORD, { mode: 0o755 });
  // Made by the same Nix function as in nixpkgs.
  const settings =
    '{ bootPath = "/boot"; devices = [ "/dev/sda" "/dev/disk/by-id/ata-A&B" "nodev" ]; users = { }; timeout = 5; }';
  const evaluate = ['nix-instantiate', '--store', await tempDirectory(), '--eval', '--json', '--expr'];
  const xml = await run([...evaluate, `builtins.toXML ${settings}`], { env: PRIVATE_NIX });
  await writeFile(at(CONFIG), JSON.parse(xml) as string);
  const closureInfo = await tempDirectory();
  const paths = [SYSTEM, SHELL, CONFIG];
  await writeFile(join(closureInfo, 'store-paths'), `${paths.join('\n')}\n`);
  const records = paths.map((path) => `${path}\nsha256:${'0'.repeat(64)}\n1\n\n0\n`);
  await writeFile(join(closureInfo, 'registration'), records.join(''));
  return { store, closureInfo };
}

test('an installer finds its devices, its own HOME and the boot partition, and leaves no temporary files', async () => {
  const directory = await tempDirectory();
  const id = join(directory, 'machine-id');
  await writeFile(id, '0123456789abcdef0123456789abcdef\n');
  const options = { ...(await recorder()), toplevel: SYSTEM, partitionTableType: 'efi', bootSize: '64M' } as const;
  const build = (more: object) =>
    buildImage({ ...options, outDir: directory, additionalSpace: '32M', ...more }, { startBuilder: startBuilderVm });
  const built = await build({ contents: [{ source: id, target: '/etc/machine-id', mode: '444' }] });
  const take = async (name: string, partition: typeof built.disk.root | undefined, fsType: 'ext4' | 'vfat') => {
    if (partition === undefined) throw new Error(`no partition for ${name}`);
    const files = await extractFilesystem({
      ...{ image: built.image, partition, fsType, directory: join(directory, name) },
      leaveOut: ['/nix/store'],
    });
    return new Map(files.map((file) => [file.path, file.source]));
  };
  const root = await take('root', built.disk.root, 'ext4');
  expect((await readFile(root.get('var/recorded') ?? '', 'utf8')).trim().split('\n')).toEqual([
    'home /tmp',
    'install 1',
    'device /dev/sda /dev/vda',
    'device /dev/disk/by-id/ata-A&B /dev/vda',
    'boot 1',
    'staged',
  ]);
  const left = [...root.keys()].filter((path) => /^(?:run|tmp)\/|defexpr/.test(path));
  expect(left).toEqual([]);
  expect(await readFile(root.get('etc/machine-id') ?? '', 'utf8')).toBe('0123456789abcdef0123456789abcdef\n');
  const boot = await take('boot', built.disk.esp, 'vfat');
  expect([...boot.keys()].filter((path) => path.startsWith('loader/'))).toEqual(['loader/entry']);
});

test('the installer sees contents in /tmp, and names, owners and attributes survive a second layout', async () => {
  const directory = await tempDirectory();
  const source = join(directory, 'größe.txt');
  await writeFile(source, 'content');
  await run(['setfattr', '-n', 'user.note', '-v', 'kept', source]);
  const built = await buildImage(
    {
      ...(await recorder()),
      ...{ toplevel: SYSTEM, partitionTableType: 'efi', bootSize: '64M', additionalSpace: '32M', outDir: directory },
      reproducible: true,
      contents: [
        { source, target: '/srv/größe.txt' },
        { source, target: '/tmp/staged' },
      ],
    },
    { startBuilder: startBuilderVm },
  );
  const partition = built.disk.root;
  const files = await extractFilesystem({
    ...{ image: built.image, partition, fsType: 'ext4', directory: join(directory, 'root'), leaveOut: ['/nix/store'] },
  });
  const at = new Map(files.map((file) => [Buffer.from(file.path, 'latin1').toString('utf8'), file]));
  const attributes = at.get('srv/größe.txt')?.attributes?.map(({ name, value }) => [name, `${value}`]);
  expect(attributes).toEqual([['user.note', 'kept']]);
  expect([...at.keys()].filter((path) => /^(?:run|tmp)\//.test(path))).toEqual(['tmp/staged']);
  expect(await readFile(at.get('var/recorded')?.source ?? '', 'utf8')).toContain('staged staged\n');
});
