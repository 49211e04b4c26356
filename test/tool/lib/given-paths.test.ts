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
import { fillBootFilesystem } from '../../../lib/steps/fill-boot-filesystem.ts';
import { installGrub } from '../../../lib/steps/install-grub.ts';
import { installSystem } from '../../../lib/steps/install-system.ts';
import { installSystemdBoot } from '../../../lib/steps/install-systemd-boot.ts';
import { listClosureFiles } from '../../../lib/steps/list-closure-files.ts';
import { makeBootFilesystem } from '../../../lib/steps/make-boot-filesystem.ts';
import { makeFilesystem } from '../../../lib/steps/make-filesystem.ts';
import { partitionDisk } from '../../../lib/steps/partition-disk.ts';
import { removeMachineId } from '../../../lib/steps/remove-machine-id.ts';
import { resolveOwners } from '../../../lib/steps/resolve-owners.ts';
import { shrinkImage } from '../../../lib/steps/shrink-image.ts';
import { stageContents } from '../../../lib/steps/stage-contents.ts';
import { tuneFilesystem } from '../../../lib/steps/tune-filesystem.ts';
import { writeConfigFile } from '../../../lib/steps/write-config-file.ts';
import { writeEfiVariables } from '../../../lib/steps/write-efi-variables.ts';
import { MIB } from '../../../lib/units.ts';
import { storePath } from '../../helpers/fake-system.ts';
import { run } from '../../helpers/run.ts';
import { tempDirectory } from '../../helpers/temp-directory.ts';

// Every unsuitable path causes an error of this project with its name, quickly, and no existing file is changed.

interface Place {
  readonly directory: string;
  /** A file of 16 MiB. */
  readonly disk: string;
}

const partition = { offsetBytes: MIB, sizeBytes: 8 * MIB, number: 1, startSectors: 2048, mountPoint: undefined };
const disk = { table: 'gpt', partitions: [partition], root: partition, esp: partition } as const;
const toplevel = storePath('nixos-system');
const generations = [{ number: 1, toplevel }];
const owned = [{ source: '/etc/hostname', target: '/x', user: 'a', group: 'b' }];

/** Each function and path option, with the kinds of files that are valid for it. */
const CALLS: Readonly<Record<string, readonly [call: (path: string, at: Place) => Promise<unknown>, right?: string]>> =
  {
    'createDisk image': [(image) => createDisk({ image, sizeBytes: MIB }), 'missing'],
    'partitionDisk image': [(image) => partitionDisk({ image, partitionTableType: 'efi' })],
    'makeBootFilesystem image': [(image) => makeBootFilesystem({ image, partition })],
    'fillBootFilesystem image': [(image) => fillBootFilesystem({ image, partition, files: [] })],
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
      (image, at) => extractFilesystem({ image, partition, fsType: 'ext4', directory: join(at.directory, 'new') }),
    ],
    'extractFilesystem directory': [
      (directory, at) => extractFilesystem({ image: at.disk, partition, fsType: 'vfat', directory }),
    ],
    'convertImage source': [
      (source, at) => convertImage({ source, target: join(at.directory, 'new'), format: 'qcow2' }),
      'text empty',
    ],
    'convertImage target': [
      (target, at) => convertImage({ source: at.disk, target, format: 'qcow2' }),
      'missing text empty',
    ],
    'inspectImage image': [(image) => inspectImage({ image })],
    'diffImages a': [(a, at) => diffImages({ a, b: at.disk })],
    'diffImages b': [(b, at) => diffImages({ a: at.disk, b })],
    'computeDiskSize root': [(root) => computeDiskSize({ stagedRoot: root, partitionTableType: 'efi' }), 'directory'],
    'stageContents root': [
      (root) => stageContents({ stagedRoot: root, contents: [{ source: '/etc/hostname', target: '/x' }] }),
      'missing deep directory',
    ],
    'stageContents source': [
      (source, at) => stageContents({ stagedRoot: join(at.directory, 'new'), contents: [{ source, target: '/y/' }] }),
      'text empty pipe directory',
    ],
    'writeConfigFile configFile': [
      (configFile, at) => writeConfigFile({ root: at.directory, configFile }),
      'text empty',
    ],
    'writeConfigFile root': [(root) => writeConfigFile({ root, configFile: '/etc/hostname' }), 'directory'],
    'removeMachineId root': [(root) => removeMachineId({ mountPoint: root }), 'directory'],
    'installSystem root': [(root) => installSystem({ stagedRoot: root, toplevel })],
    'installSystem store': [(store, at) => installSystem({ stagedRoot: join(at.directory, 'new'), store, toplevel })],
    'installSystemdBoot image': [(image) => installSystemdBoot({ image, esp: partition, generations })],
    'installGrub image': [
      (image, at) =>
        installGrub({
          ...{ image, disk, firmware: ['bios'], root: at.directory, generations },
          rootUuid: 'f222513b-ded1-49fa-b591-20ce86a2fe7f',
        }),
    ],
    'copyBootCode from': [(from, at) => copyBootCode({ from, to: at.disk, disk })],
    'copyBootCode to': [(to, at) => copyBootCode({ from: at.disk, to, disk })],
    'listClosureFiles store': [(store) => listClosureFiles({ closure: { store, storePaths: [toplevel] } })],
    'resolveOwners store': [(store) => resolveOwners({ store, toplevel, contents: owned })],
    'writeEfiVariables template': [
      (template, at) => writeEfiVariables({ template, target: join(at.directory, 'new'), bootEntries: [] }),
    ],
    'writeEfiVariables target': [(target, at) => writeEfiVariables({ template: at.disk, target, bootEntries: [] })],
    'shrinkImage image': [(image) => shrinkImage({ image })],
    'buildImage toplevel': [
      (path, at) => buildImage({ toplevel: path, outDir: join(at.directory, 'new'), bootLoaderFrom: 'bootspec' }),
    ],
    'buildImage store': [
      (store, at) => buildImage({ toplevel, store, outDir: join(at.directory, 'new'), bootLoaderFrom: 'bootspec' }),
    ],
    'buildImage outDir': [(outDir) => buildImage({ toplevel, outDir, bootLoaderFrom: 'bootspec' })],
  };

const KINDS: Readonly<Record<string, (directory: string) => string>> = {
  missing: (directory) => join(directory, 'missing'),
  deep: (directory) => join(directory, 'no/such'),
  directory: (directory) => join(directory, 'directory'),
  text: (directory) => join(directory, 'text'),
  empty: (directory) => join(directory, 'empty'),
  below: (directory) => join(directory, 'text/below a file'),
  pipe: (directory) => join(directory, 'pipe'),
  device: () => '/dev/tty',
  proc: () => '/proc/self/x',
  long: (directory) => join(directory, 'l'.repeat(300)),
};

async function place(): Promise<Place> {
  const directory = await tempDirectory();
  await mkdir(join(directory, 'directory'));
  await writeFile(join(directory, 'text'), 'text');
  await writeFile(join(directory, 'empty'), '');
  await run(['mkfifo', 'pipe'], { cwd: directory });
  const file = join(directory, 'disk');
  await createDisk({ image: file, sizeBytes: 16 * MIB });
  return { directory, disk: file };
}

describe.each(Object.entries(CALLS))('%s', (_, [call, right = '']) => {
  const wrong = Object.keys(KINDS).filter((kind) => !right.split(' ').includes(kind));
  test.each(wrong)('%s is refused with a message', { timeout: 20_000 }, async (kind) => {
    const at = await place();
    const before = await readdir(join(at.directory, 'directory'));
    const path = KINDS[kind]?.(at.directory) ?? '';
    const error = await call(path, at).then(
      () => 'taken',
      (thrown: unknown) => thrown,
    );
    expect(error).toBeInstanceOf(DiskImageError);
    expect(await readdir(join(at.directory, 'directory'))).toEqual(before);
    expect(await run(['cat', 'text'], { cwd: at.directory })).toBe('text');
  });
});
