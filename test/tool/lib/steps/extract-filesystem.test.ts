import { chmod, link, mkdir, readdir, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { diffImages } from '../../../../lib/diff/diff-images.ts';
import { createDisk } from '../../../../lib/steps/create-disk.ts';
import { extractFilesystem } from '../../../../lib/steps/extract-filesystem.ts';
import { fillBootFilesystem } from '../../../../lib/steps/fill-boot-filesystem.ts';
import { makeBootFilesystem } from '../../../../lib/steps/make-boot-filesystem.ts';
import { makeFilesystem } from '../../../../lib/steps/make-filesystem.ts';
import { MIB } from '../../../../lib/units.ts';
import { HOSTILE_NAMES } from '../../../helpers/hostile-names.ts';
import { run } from '../../../helpers/run.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

const UUID = 'f222513b-ded1-49fa-b591-20ce86a2fe7f';
const partition = { offsetBytes: 0, sizeBytes: 64 * MIB };

test('ext4: an extracted tree makes the same filesystem again', async () => {
  const directory = await tempDirectory();
  const root = join(directory, 'root');
  await mkdir(join(root, 'etc/deep'), { recursive: true });
  for (const [name, mode] of [
    ['shadow', 0o640],
    ['locked', 0o000],
    ['setuid', 0o4711],
  ] as const) {
    await writeFile(join(root, 'etc', name), name);
    // makeFilesystem must read it as an ordinary user, so the mode is only in the image.
    await chmod(join(root, 'etc', name), process.getuid?.() === 0 ? mode : mode | 0o400);
  }
  await link(join(root, 'etc/shadow'), join(root, 'etc/deep/same'));
  await symlink('short', join(root, 'short'));
  await symlink('t'.repeat(300), join(root, 'long'));
  await writeFile(join(root, 'sparse'), Buffer.alloc(5 * MIB, 3));
  await truncate(join(root, 'sparse'), 30 * MIB);
  await chmod(join(root, 'etc/deep'), 0o1777);
  const owners = [
    { target: '/etc/setuid', uid: 0, gid: 42 },
    { target: '/etc/deep', uid: 100_000, gid: 7 },
  ];
  const [a, b] = [join(directory, 'a.img'), join(directory, 'b.img')];
  for (const image of [a, b]) await createDisk({ image, sizeBytes: 66 * MIB });
  const common = { partition, uuid: UUID, hashSeed: UUID, inodeCount: 4096, timestamp: 1 };
  await makeFilesystem({ ...common, image: a, populateFrom: root, owners });
  // The directory may have any name.
  const entries = await extractFilesystem({ image: a, partition, fsType: 'ext4', directory: join(directory, 'täken') });
  await makeFilesystem({ ...common, image: b, files: entries });
  // The filesystem counts its writes; everything else is the same, including times and links.
  const counted = ['Lifetime writes', 'Checksum'];
  expect((await diffImages({ a, b })).filter(({ field }) => !counted.includes(field ?? ''))).toEqual([]);
  const stat = (path: string) => run(['debugfs', '-R', `stat ${path}`, b]);
  expect(await stat('/etc/shadow')).toMatch(/Mode: +0640[\s\S]*Links: 2/);
  expect(await stat('/etc/setuid')).toMatch(/Mode: +04711[\s\S]*Group: +42/);
  const kept = await extractFilesystem({
    ...{ image: a, partition, fsType: 'ext4' as const, directory: join(directory, 'again') },
    leaveOut: ['/etc/deep', '/sparse'],
  });
  expect(kept.map(({ path }) => path)).toEqual(expect.arrayContaining(['etc/shadow', 'long']));
  expect(kept.some(({ path }) => path.startsWith('etc/deep') || path === 'sparse')).toBe(false);
});

test('FAT: an extracted tree makes the same bytes again', async () => {
  const directory = await tempDirectory();
  await writeFile(join(directory, 'file'), 'x'.repeat(70_000));
  const [a, b] = [join(directory, 'a.img'), join(directory, 'b.img')];
  const entry = (path: string, type: 'file' | 'directory') => ({
    ...{ path, type, mode: 0o644, uid: 0, gid: 0, sizeBytes: 70_000, mtime: 1 },
    ...{ source: join(directory, 'file'), target: '', hardLink: undefined },
  });
  const entries = [
    entry('EFI', 'directory'),
    entry('EFI/A long name.conf', 'file'),
    entry('loader/empty', 'directory'),
  ];
  const identity = { partition, volumeId: '12345678', timestamp: 1 };
  for (const image of [a, b]) {
    await createDisk({ image, sizeBytes: 66 * MIB });
    await makeBootFilesystem({ ...identity, image });
  }
  await fillBootFilesystem({ image: a, partition, files: entries, timestamp: 1 });
  const taken = await extractFilesystem({ image: a, partition, fsType: 'vfat', directory: join(directory, 'taken') });
  expect(taken.map(({ path }) => path).filter((path) => path !== '')).toEqual([
    'EFI',
    'EFI/A long name.conf',
    'loader',
    'loader/empty',
  ]);
  await fillBootFilesystem({ image: b, partition, files: taken, timestamp: 1 });
  await run(['cmp', a, b]);
});

test.each(HOSTILE_NAMES)('a FAT in an image named %j is written and read, and nothing runs', async (name) => {
  const directory = join(await tempDirectory(), 'in $(touch ran)');
  await mkdir(directory);
  const image = join(directory, name);
  await createDisk({ image, sizeBytes: 4 * MIB });
  const esp = { offsetBytes: MIB, sizeBytes: 2 * MIB };
  await makeBootFilesystem({ image, partition: esp });
  const source = join(directory, `file of ${name}`.slice(0, 200));
  await writeFile(source, 'content');
  const entry = {
    ...{ path: 'EFI/a.efi', type: 'file' as const, mode: 0o644, uid: 0, gid: 0, sizeBytes: 7, mtime: 1 },
    ...{ source: Buffer.from(source).toString('latin1'), target: '', hardLink: undefined },
  };
  await fillBootFilesystem({ image, partition: esp, files: [entry] });
  const taken = join(directory, `taken ${name}`.slice(0, 200));
  const entries = await extractFilesystem({ image, partition: esp, fsType: 'vfat', directory: taken });
  expect(entries.map(({ path }) => path)).toEqual(['', 'EFI', 'EFI/a.efi']);
  for (const place of [directory, join(directory, '..'), taken, process.cwd()])
    expect(await readdir(place)).not.toContain('ran');
});

test.each([
  [
    ['loader/entries/nixos-Gaming.conf', 'loader/entries/nixos-gaming.conf'],
    /Gaming\.conf and .*gaming\.conf are the same name/,
  ],
  [['EFI/a', 'efi'], /\/EFI and \/efi are the same name/],
  [['what: a name.conf'], /does not allow ":" in names/],
  [['back\\slash'], /does not allow "\\\\" in names/],
  [['dot.'], /does not allow "\." in names/],
  [[`${'x'.repeat(256)}`], /does not allow names of 256 characters/],
])('names that FAT cannot have, or that collide on it: %j', async (paths, message) => {
  const directory = await tempDirectory();
  const image = join(directory, 'disk.img');
  await createDisk({ image, sizeBytes: 4 * MIB });
  const esp = { offsetBytes: MIB, sizeBytes: 2 * MIB };
  await makeBootFilesystem({ image, partition: esp });
  await writeFile(join(directory, 'source'), 'content');
  const entries = paths.map((path) => ({
    ...{ path, type: 'file' as const, mode: 0o644, uid: 0, gid: 0, sizeBytes: 7, mtime: 1 },
    ...{ source: join(directory, 'source'), target: '', hardLink: undefined },
  }));
  await expect(fillBootFilesystem({ image, partition: esp, files: entries })).rejects.toThrow(message);
});
