import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { buildImage } from '../../../lib/build/build-image.ts';
import { diffImages } from '../../../lib/diff/diff-images.ts';
import { inspectImage } from '../../../lib/inspect/inspect-image.ts';
import { DiskImageError } from '../../../lib/run/errors.ts';
import { computeDiskSize } from '../../../lib/steps/compute-disk-size.ts';
import { convertImage } from '../../../lib/steps/convert-image.ts';
import { copyBootCode } from '../../../lib/steps/copy-boot-code.ts';
import { copyToFilesystem } from '../../../lib/steps/copy-to-filesystem.ts';
import { createDisk } from '../../../lib/steps/create-disk.ts';
import { extractFilesystem } from '../../../lib/steps/extract-filesystem.ts';
import { fillEsp } from '../../../lib/steps/fill-esp.ts';
import { formatEsp } from '../../../lib/steps/format-esp.ts';
import { installGrub } from '../../../lib/steps/install-grub.ts';
import { installSystem } from '../../../lib/steps/install-system.ts';
import { installSystemdBoot } from '../../../lib/steps/install-systemd-boot.ts';
import { listClosure } from '../../../lib/steps/list-closure.ts';
import { makeFilesystem } from '../../../lib/steps/make-filesystem.ts';
import { partitionDisk } from '../../../lib/steps/partition-disk.ts';
import { removeMachineId } from '../../../lib/steps/remove-machine-id.ts';
import { resolveOwners } from '../../../lib/steps/resolve-owners.ts';
import { stageContents } from '../../../lib/steps/stage-contents.ts';
import { tuneFilesystem } from '../../../lib/steps/tune-filesystem.ts';
import { writeConfigFile } from '../../../lib/steps/write-config-file.ts';
import { writeEfiVariables } from '../../../lib/steps/write-efi-variables.ts';
import { MIB } from '../../../lib/units.ts';
import { storePath } from '../../helpers/fake-system.ts';
import { run } from '../../helpers/run.ts';
import { tempFolder } from '../../helpers/temp-folder.ts';

// Whatever path somebody gives: an error of this project that names it, in no time, and nothing is written to what is there.

interface Place {
  readonly folder: string;
  /** A file of 16 MiB. */
  readonly disk: string;
}

const partition = { offsetBytes: MIB, sizeBytes: 8 * MIB, number: 1, startSectors: 2048, mountPoint: undefined };
const disk = { table: 'gpt', partitions: [partition], root: partition, esp: partition } as const;
const toplevel = storePath('nixos-system');
const generations = [{ number: 1, toplevel }];
const owned = [{ source: '/etc/hostname', target: '/x', user: 'a', group: 'b' }];

/** For each function and each path that it takes, with the kinds that are right for it. */
const CALLS: Readonly<Record<string, readonly [call: (path: string, at: Place) => Promise<unknown>, right?: string]>> =
  {
    'createDisk image': [(image) => createDisk({ image, sizeBytes: MIB }), 'missing'],
    'partitionDisk image': [(image) => partitionDisk({ image, partitionTableType: 'efi' })],
    'formatEsp image': [(image) => formatEsp({ image, partition })],
    'fillEsp image': [(image) => fillEsp({ image, partition, entries: [] })],
    'makeFilesystem image': [(image) => makeFilesystem({ image, partition })],
    'makeFilesystem populateFrom': [
      (populateFrom, at) => makeFilesystem({ image: at.disk, partition, populateFrom }),
      'directory',
    ],
    'tuneFilesystem device': [(device) => tuneFilesystem({ device, offsetBytes: MIB })],
    'copyToFilesystem image': [
      (image) =>
        copyToFilesystem({ image, partition, sources: ['/etc/hostname'] } as Parameters<typeof copyToFilesystem>[0]),
    ],
    'extractFilesystem image': [
      (image, at) => extractFilesystem({ image, partition, fsType: 'ext4', folder: join(at.folder, 'new') }),
    ],
    'extractFilesystem folder': [
      (folder, at) => extractFilesystem({ image: at.disk, partition, fsType: 'vfat', folder }),
    ],
    'convertImage source': [
      (source, at) => convertImage({ source, target: join(at.folder, 'new'), format: 'qcow2' }),
      'text empty',
    ],
    'convertImage target': [
      (target, at) => convertImage({ source: at.disk, target, format: 'qcow2' }),
      'missing text empty',
    ],
    'inspectImage image': [(image) => inspectImage({ image })],
    'diffImages a': [(a, at) => diffImages({ a, b: at.disk })],
    'diffImages b': [(b, at) => diffImages({ a: at.disk, b })],
    'computeDiskSize root': [(root) => computeDiskSize({ root, partitionTableType: 'efi' }), 'directory'],
    'stageContents root': [
      (root) => stageContents({ root, contents: [{ source: '/etc/hostname', target: '/x' }] }),
      'missing deep directory',
    ],
    'stageContents source': [
      (source, at) => stageContents({ root: join(at.folder, 'new'), contents: [{ source, target: '/y/' }] }),
      'text empty pipe directory',
    ],
    'writeConfigFile configFile': [(configFile, at) => writeConfigFile({ root: at.folder, configFile }), 'text empty'],
    'writeConfigFile root': [(root) => writeConfigFile({ root, configFile: '/etc/hostname' }), 'directory'],
    'removeMachineId root': [(root) => removeMachineId({ root }), 'directory'],
    'installSystem root': [(root) => installSystem({ root, toplevel })],
    'installSystem store': [(store, at) => installSystem({ root: join(at.folder, 'new'), store, toplevel })],
    'installSystemdBoot image': [(image) => installSystemdBoot({ image, esp: partition, generations })],
    'installGrub image': [
      (image, at) =>
        installGrub({
          ...{ image, disk, firmware: ['bios'], root: at.folder, generations },
          rootUuid: 'f222513b-ded1-49fa-b591-20ce86a2fe7f',
        }),
    ],
    'copyBootCode from': [(from, at) => copyBootCode({ from, to: at.disk, disk })],
    'copyBootCode to': [(to, at) => copyBootCode({ from: at.disk, to, disk })],
    'listClosure store': [(store) => listClosure({ closure: { store, storePaths: [toplevel] } })],
    'resolveOwners store': [(store) => resolveOwners({ store, toplevel, contents: owned })],
    'writeEfiVariables template': [
      (template, at) => writeEfiVariables({ template, target: join(at.folder, 'new'), entries: [] }),
    ],
    'writeEfiVariables target': [(target, at) => writeEfiVariables({ template: at.disk, target, entries: [] })],
    'buildImage toplevel': [
      (path, at) => buildImage({ toplevel: path, outDir: join(at.folder, 'new'), bootLoaderFrom: 'bootspec' }),
    ],
    'buildImage store': [
      (store, at) => buildImage({ toplevel, store, outDir: join(at.folder, 'new'), bootLoaderFrom: 'bootspec' }),
    ],
    'buildImage outDir': [(outDir) => buildImage({ toplevel, outDir, bootLoaderFrom: 'bootspec' })],
  };

const KINDS: Readonly<Record<string, (folder: string) => string>> = {
  missing: (folder) => join(folder, 'missing'),
  deep: (folder) => join(folder, 'no/such'),
  directory: (folder) => join(folder, 'directory'),
  text: (folder) => join(folder, 'text'),
  empty: (folder) => join(folder, 'empty'),
  below: (folder) => join(folder, 'text/below a file'),
  pipe: (folder) => join(folder, 'pipe'),
  device: () => '/dev/tty',
  proc: () => '/proc/self/x',
  long: (folder) => join(folder, 'l'.repeat(300)),
};

async function place(): Promise<Place> {
  const folder = await tempFolder();
  await mkdir(join(folder, 'directory'));
  await writeFile(join(folder, 'text'), 'text');
  await writeFile(join(folder, 'empty'), '');
  await run(['mkfifo', 'pipe'], { cwd: folder });
  const file = join(folder, 'disk');
  await createDisk({ image: file, sizeBytes: 16 * MIB });
  return { folder, disk: file };
}

describe.each(Object.entries(CALLS))('%s', (_, [call, right = '']) => {
  const wrong = Object.keys(KINDS).filter((kind) => !right.split(' ').includes(kind));
  test.each(wrong)('%s is refused in words', { timeout: 20_000 }, async (kind) => {
    const at = await place();
    const before = await readdir(join(at.folder, 'directory'));
    const path = KINDS[kind]?.(at.folder) ?? '';
    const error = await call(path, at).then(
      () => 'taken',
      (thrown: unknown) => thrown,
    );
    expect(error).toBeInstanceOf(DiskImageError);
    expect(await readdir(join(at.folder, 'directory'))).toEqual(before);
    expect(await run(['cat', 'text'], { cwd: at.folder })).toBe('text');
  });
});
