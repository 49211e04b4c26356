import { chmod, link, mkdir, readdir, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { diffImages } from '../../../../lib/diff/diff-images.ts';
import { createDisk } from '../../../../lib/steps/create-disk.ts';
import { extractFilesystem } from '../../../../lib/steps/extract-filesystem.ts';
import { fillEsp } from '../../../../lib/steps/fill-esp.ts';
import { formatEsp } from '../../../../lib/steps/format-esp.ts';
import { makeFilesystem } from '../../../../lib/steps/make-filesystem.ts';
import { MIB } from '../../../../lib/units.ts';
import { HOSTILE_NAMES } from '../../../helpers/hostile-names.ts';
import { run } from '../../../helpers/run.ts';
import { tempFolder } from '../../../helpers/temp-folder.ts';

const UUID = 'f222513b-ded1-49fa-b591-20ce86a2fe7f';
const partition = { offsetBytes: 0, sizeBytes: 64 * MIB };

test('ext4: what is taken out and laid out again is the same filesystem', async () => {
  const folder = await tempFolder();
  const root = join(folder, 'root');
  await mkdir(join(root, 'etc/deep'), { recursive: true });
  for (const [name, mode] of [
    ['shadow', 0o640],
    ['locked', 0o000],
    ['setuid', 0o4711],
  ] as const) {
    await writeFile(join(root, 'etc', name), name);
    // makeFilesystem reads it as an ordinary user, too; the mode is the image's alone.
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
  const [a, b] = [join(folder, 'a.img'), join(folder, 'b.img')];
  for (const image of [a, b]) await createDisk({ image, sizeBytes: 66 * MIB });
  const common = { partition, uuid: UUID, hashSeed: UUID, inodeCount: 4096, timestamp: 1 };
  await makeFilesystem({ ...common, image: a, populateFrom: root, owners });
  // Whatever the directory's name.
  const entries = await extractFilesystem({ image: a, partition, fsType: 'ext4', folder: join(folder, 'täken') });
  await makeFilesystem({ ...common, image: b, entries });
  // How often the filesystem was written to is counted; all else is the same, times and links included.
  const counted = ['Lifetime writes', 'Checksum'];
  expect((await diffImages({ a, b })).filter(({ field }) => !counted.includes(field ?? ''))).toEqual([]);
  const stat = (path: string) => run(['debugfs', '-R', `stat ${path}`, b]);
  expect(await stat('/etc/shadow')).toMatch(/Mode: +0640[\s\S]*Links: 2/);
  expect(await stat('/etc/setuid')).toMatch(/Mode: +04711[\s\S]*Group: +42/);
  const kept = await extractFilesystem({
    ...{ image: a, partition, fsType: 'ext4' as const, folder: join(folder, 'again') },
    leaveOut: ['/etc/deep', '/sparse'],
  });
  expect(kept.map(({ path }) => path)).toEqual(expect.arrayContaining(['etc/shadow', 'long']));
  expect(kept.some(({ path }) => path.startsWith('etc/deep') || path === 'sparse')).toBe(false);
});

test('FAT: what is taken out and laid out again gives the same bytes', async () => {
  const folder = await tempFolder();
  await writeFile(join(folder, 'file'), 'x'.repeat(70_000));
  const [a, b] = [join(folder, 'a.img'), join(folder, 'b.img')];
  const entry = (path: string, type: 'file' | 'folder') => ({
    ...{ path, type, mode: 0o644, uid: 0, gid: 0, sizeBytes: 70_000, mtime: 1 },
    ...{ source: join(folder, 'file'), target: '', hardLink: undefined },
  });
  const entries = [entry('EFI', 'folder'), entry('EFI/A long name.conf', 'file'), entry('loader/empty', 'folder')];
  const identity = { partition, volumeId: '12345678', timestamp: 1 };
  for (const image of [a, b]) {
    await createDisk({ image, sizeBytes: 66 * MIB });
    await formatEsp({ ...identity, image });
  }
  await fillEsp({ image: a, partition, entries, timestamp: 1 });
  const taken = await extractFilesystem({ image: a, partition, fsType: 'vfat', folder: join(folder, 'taken') });
  expect(taken.map(({ path }) => path).filter((path) => path !== '')).toEqual([
    'EFI',
    'EFI/A long name.conf',
    'loader',
    'loader/empty',
  ]);
  await fillEsp({ image: b, partition, entries: taken, timestamp: 1 });
  await run(['cmp', a, b]);
});

test.each(HOSTILE_NAMES)('a FAT in an image of the name %j is written and read, and nothing is run', async (name) => {
  const folder = join(await tempFolder(), 'in $(touch ran)');
  await mkdir(folder);
  const image = join(folder, name);
  await createDisk({ image, sizeBytes: 4 * MIB });
  const esp = { offsetBytes: MIB, sizeBytes: 2 * MIB };
  await formatEsp({ image, partition: esp });
  const source = join(folder, `file of ${name}`.slice(0, 200));
  await writeFile(source, 'content');
  const entry = {
    ...{ path: 'EFI/a.efi', type: 'file' as const, mode: 0o644, uid: 0, gid: 0, sizeBytes: 7, mtime: 1 },
    ...{ source: Buffer.from(source).toString('latin1'), target: '', hardLink: undefined },
  };
  await fillEsp({ image, partition: esp, entries: [entry] });
  const taken = join(folder, `taken ${name}`.slice(0, 200));
  const entries = await extractFilesystem({ image, partition: esp, fsType: 'vfat', folder: taken });
  expect(entries.map(({ path }) => path)).toEqual(['', 'EFI', 'EFI/a.efi']);
  for (const place of [folder, join(folder, '..'), taken, process.cwd()])
    expect(await readdir(place)).not.toContain('ran');
});

test.each([
  [
    ['loader/entries/nixos-Gaming.conf', 'loader/entries/nixos-gaming.conf'],
    /Gaming\.conf and .*gaming\.conf are one name/,
  ],
  [['EFI/a', 'efi'], /\/EFI and \/efi are one name/],
  [['what: a name.conf'], /no name with ":"/],
  [['back\\slash'], /no name with "\\\\"/],
  [['dot.'], /no name with "\."/],
  [[`${'x'.repeat(256)}`], /no name of 256 characters/],
])('names that FAT does not have, or has once: %j', async (paths, message) => {
  const folder = await tempFolder();
  const image = join(folder, 'disk.img');
  await createDisk({ image, sizeBytes: 4 * MIB });
  const esp = { offsetBytes: MIB, sizeBytes: 2 * MIB };
  await formatEsp({ image, partition: esp });
  await writeFile(join(folder, 'source'), 'content');
  const entries = paths.map((path) => ({
    ...{ path, type: 'file' as const, mode: 0o644, uid: 0, gid: 0, sizeBytes: 7, mtime: 1 },
    ...{ source: join(folder, 'source'), target: '', hardLink: undefined },
  }));
  await expect(fillEsp({ image, partition: esp, entries })).rejects.toThrow(message);
});
