import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type BuilderVm, startBuilderVm } from '../../../harness/builder/builder-vm.ts';
import { removeTree } from '../../../lib/host-files/private-output.ts';
import { chownContents } from '../../../lib/steps/chown-contents.ts';
import { createDisk } from '../../../lib/steps/create-disk.ts';
import { installSystem } from '../../../lib/steps/install-system.ts';
import { makeFilesystem } from '../../../lib/steps/make-filesystem.ts';
import { mountBootFilesystem } from '../../../lib/steps/mount-boot-filesystem.ts';
import { mountRoot } from '../../../lib/steps/mount-root.ts';
import { nixosEnter } from '../../../lib/steps/nixos-enter.ts';
import { type PartitionedDisk, partitionDisk } from '../../../lib/steps/partition-disk.ts';
import { removeMachineId } from '../../../lib/steps/remove-machine-id.ts';
import { switchToConfiguration } from '../../../lib/steps/switch-to-configuration.ts';
import { tuneFilesystem } from '../../../lib/steps/tune-filesystem.ts';
import { unmountRoot } from '../../../lib/steps/unmount-root.ts';
import { writeConfigFile } from '../../../lib/steps/write-config-file.ts';
import { MIB } from '../../../lib/units.ts';
import { prepareDemo } from '../../../vm-images/demo.ts';

// The steps that need root, one by one, in the order in which a script calls them.

let vm: BuilderVm;
let disk: PartitionedDisk;
let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'ndi-steps-'));
  const demo = await prepareDemo();
  const image = join(directory, 'disk.img');
  const root = join(directory, 'root');
  await installSystem({ stagedRoot: root, toplevel: demo.systems['tiny-systemd-boot'] ?? '', store: demo.store });
  await createDisk({ image, sizeBytes: 300 * MIB });
  disk = await partitionDisk({ image, partitionTableType: 'efi', bootSize: '128M' });
  await makeFilesystem({ image, partition: disk.root, populateFrom: root });
  vm = await startBuilderVm({ image });
});
afterAll(async () => {
  await vm[Symbol.asyncDispose]();
  await removeTree(directory);
});

const inside = async (...argv: string[]): Promise<string> => (await vm.run(argv)).stdout.toString('utf8').trim();

test('mountRoot mounts the root', async () => {
  await mountRoot({ device: vm.device(disk.root) }, { executor: vm });
  expect(await inside('test', '-e', '/mnt/etc/NIXOS')).toBe('');
  await expect(mountRoot({ device: '/dev/vda1', mountPoint: '/other' }, { executor: vm })).rejects.toThrow(
    /cannot mount \/dev\/vda1 as ext4/,
  );
});

test('mountBootFilesystem makes and mounts a FAT filesystem, with its UUID read back', async () => {
  const { uuid } = await mountBootFilesystem(
    { device: vm.device(disk.esp ?? disk.root), mountPoint: '/mnt/boot', volumeId: 'ABCD1234' },
    { executor: vm },
  );
  expect(uuid).toBe('ABCD-1234');
  expect(await inside('sh', '-c', 'grep -c " /mnt/boot vfat " /proc/mounts')).toBe('1');
  await expect(
    mountBootFilesystem({ device: '/dev/vda1', mountPoint: '/x', label: 'TWELVE BYTES' }, { executor: vm }),
  ).rejects.toThrow(/longer than the 11 bytes/);
});

test('writeConfigFile writes the file', async () => {
  await writeFile(join(directory, 'configuration.nix'), '{ }\n');
  await writeConfigFile({ configFile: join(directory, 'configuration.nix') }, { executor: vm });
  expect(await inside('cat', '/mnt/etc/nixos/configuration.nix')).toBe('{ }');
  await expect(writeConfigFile({ configFile: join(directory, 'missing') }, { executor: vm })).rejects.toThrow(
    /configFile: .*missing does not exist/,
  );
});

test('nixosEnter activates the system, then runs the command in its own namespaces', async () => {
  const before = await inside('sh', '-c', 'wc -l < /proc/mounts');
  const result = await nixosEnter(
    { command: ['sh', '-c', 'id -u alice; echo "$$"; ls -d /run/current-system'] },
    { executor: vm },
  );
  expect(result.stdout.toString()).toBe('1000\n1\n/run/current-system\n');
  expect(await inside('sh', '-c', 'wc -l < /proc/mounts')).toBe(before);
  await expect(
    nixosEnter({ command: ['sh', '-c', 'echo why >&2; exit 9'], activate: false }, { executor: vm }),
  ).rejects.toMatchObject({ failure: { exitCode: 9 }, message: expect.stringContaining('why') });
  await expect(nixosEnter({ mountPoint: '/proc', command: ['true'] }, { executor: vm })).rejects.toThrow(
    /is not a NixOS installation/,
  );
});

test('nixosEnter uses a real nixos-enter if requested', async () => {
  await vm.run([
    'sh',
    '-c',
    'printf "#!/bin/sh\\necho real \\"\\$@\\"\\n" > /bin/my-nixos-enter; chmod 755 /bin/my-nixos-enter',
  ]);
  const result = await nixosEnter({ command: ['true', 'x'], nixosEnterTool: '/bin/my-nixos-enter' }, { executor: vm });
  expect(result.stdout.toString()).toBe('real --root /mnt -- true x\n');
});

test('switchToConfiguration installs the loader and its entry', async () => {
  await switchToConfiguration({}, { executor: vm });
  expect(await inside('sh', '-c', 'cd /mnt/boot; find . -type f | sort')).toMatch(
    /EFI\/BOOT\/BOOTX64.EFI\n[\s\S]*loader\/entries\/nixos-generation-1.conf\n.*loader\/loader.conf/,
  );
});

test('chownContents gives files to names of the installed system', async () => {
  await vm.run([
    'sh',
    '-c',
    'mkdir -p /mnt/srv/site; cd /mnt/srv/site; touch page tool; chmod 6755 tool; chmod 2775 .',
  ]);
  const { entries } = await chownContents(
    { contents: [{ target: '/srv/site', user: 'alice', group: 'wheel' }, { target: '/srv' }], activate: false },
    { executor: vm },
  );
  expect(entries).toBe(1);
  const facts = await inside(
    'stat',
    '-c',
    '%n %u:%g %a',
    ...['.', 'page', 'tool'].map((name) => `/mnt/srv/site/${name}`),
  );
  // The kernel removes a file's setuid and setgid bits when its owner changes.
  expect(facts.split('\n')).toEqual([
    '/mnt/srv/site/. 1000:1 2775',
    '/mnt/srv/site/page 1000:1 644',
    '/mnt/srv/site/tool 1000:1 6755',
  ]);
  const missing = chownContents({ contents: [{ target: '/none', user: 'alice', group: 'wheel' }] }, { executor: vm });
  await expect(missing).rejects.toThrow(/cannot read \/none in the installed system/);
});

test('removeMachineId removes it', async () => {
  await vm.run(['sh', '-c', 'echo id > /mnt/etc/machine-id']);
  await removeMachineId({}, { executor: vm });
  expect((await vm.run(['test', '-e', '/mnt/etc/machine-id'])).exitCode).toBe(1);
});

test('unmountRoot unmounts everything, and the filesystem can then be tuned', async () => {
  await unmountRoot({}, { executor: vm });
  expect(await inside('sh', '-c', 'grep -c /mnt /proc/mounts')).toBe('0');
  await expect(unmountRoot({}, { executor: vm })).rejects.toThrow(/cannot unmount \/mnt/);
  const tuned = await tuneFilesystem({ device: vm.device(disk.root) }, { executor: vm });
  expect(tuned.uuid).toMatch(/^[0-9a-f-]{36}$/);
  expect((await vm.run(['resize2fs', vm.device(disk.root)])).exitCode).toBe(0);
});
