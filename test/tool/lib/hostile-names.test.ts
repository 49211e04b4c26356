import { cp, mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { buildImage } from '../../../lib/build/build-image.ts';
import { diffImages } from '../../../lib/diff/diff-images.ts';
import { inspectImage } from '../../../lib/inspect/inspect-image.ts';
import { convertImage } from '../../../lib/steps/convert-image.ts';
import { extractFilesystem } from '../../../lib/steps/extract-filesystem.ts';
import { prepareDemo } from '../../../vm-images/demo.ts';
import { HOSTILE_NAMES } from '../../helpers/hostile-names.ts';
import { SYSTEMD_BOOT } from '../../helpers/pe-file.ts';
import { makeSmallDisk } from '../../helpers/small-disk.ts';
import { tempDirectory } from '../../helpers/temp-directory.ts';

// No program interprets a user's file name in its own syntax: each name is a file, and no command in one runs.

async function expectNothingRan(...directories: string[]): Promise<void> {
  for (const directory of [...directories, process.cwd()]) expect(await readdir(directory)).not.toContain('ran');
}

test.each(HOSTILE_NAMES)('an image named %j is read, compared and converted', async (name) => {
  const directory = await tempDirectory();
  const { image: plain } = await makeSmallDisk(directory, { 'EFI/BOOT/BOOTX64.EFI': SYSTEMD_BOOT });
  const at = join(directory, 'of $(touch ran)');
  await mkdir(at);
  const image = join(at, name);
  await cp(plain, image);
  const { image: _, ...expected } = await inspectImage({ image: plain, deep: true });
  expect(await inspectImage({ image, deep: true })).toEqual({ ...expected, image });
  expect(await diffImages({ a: plain, b: image })).toEqual([]);
  const target = join(at, `qcow2 ${name}`.slice(0, 255));
  await convertImage({ source: image, target, format: 'qcow2' });
  const differences = await diffImages({ a: image, b: target });
  expect(differences.filter(({ where }) => where !== 'container')).toEqual([]);
  await expectNothingRan(directory, at);
});

test.each([
  'hybrid',
  'efi',
] as const)('a system is built from and into directories with such names: %s', async (table) => {
  const { store, systems } = await prepareDemo();
  const directory = join(await tempDirectory(), HOSTILE_NAMES[0] ?? '');
  const sources = join(directory, 'a directory of $(touch ran)');
  await mkdir(sources, { recursive: true });
  // Names that debugfs cannot express are refused: see make-filesystem.test.ts.
  const names = HOSTILE_NAMES.filter((name) => !name.includes('\n'));
  for (const name of names) await writeFile(join(sources, name), name);
  const contents = [
    { source: sources, target: '/srv/`touch ran`' },
    ...names.map((name) => ({ source: join(sources, name), target: `/etc/${name}` })),
  ];
  const outDir = join(directory, "out; touch ran; it's @@512 ?x=1");
  const built = await buildImage({
    ...{ toplevel: systems[table === 'efi' ? 'tiny-systemd-boot' : 'tiny-grub-hybrid'] ?? '', store, outDir, contents },
    ...{ partitionTableType: table, bootLoaderFrom: 'bootspec', bootSize: '64M', baseName: 'x' },
  });
  const entries = await extractFilesystem({
    ...{ image: built.image, partition: built.disk.root, fsType: 'ext4', directory: join(directory, 'taken') },
  });
  const paths = entries.map(({ path }) => Buffer.from(path, 'latin1').toString('utf8'));
  for (const name of names) expect(paths).toEqual(expect.arrayContaining([`etc/${name}`, `srv/\`touch ran\`/${name}`]));
  await expectNothingRan(directory, sources, outDir);
});

test.each([
  'vdi',
  'vpc',
  'vmdk',
  'vhdx',
  'qcow',
  'qed',
  'parallels',
] as const)('a %s with any such name', async (format) => {
  const directory = await tempDirectory();
  const { image } = await makeSmallDisk(directory, { 'EFI/BOOT/BOOTX64.EFI': SYSTEMD_BOOT });
  const { partitions } = await inspectImage({ image });
  for (const name of HOSTILE_NAMES) {
    const target = join(directory, name);
    const { virtualBytes } = await convertImage({ source: image, target, format });
    expect(await inspectImage({ image: target })).toMatchObject({ image: target, format, virtualBytes, partitions });
    await rm(target);
  }
  await expectNothingRan(directory);
});
