import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { packageFile } from '../../../../harness/cache-directory.ts';
import { buildImage } from '../../../../lib/build/build-image.ts';
import { type MeasuredPartition, sizesOnDisk } from '../../../../lib/build/phases/partitions.ts';
import { inspectImage } from '../../../../lib/inspect/inspect-image.ts';
import { localExecutor } from '../../../../lib/run/local-executor.ts';
import { parseImageSpec } from '../../../../lib/spec/image-spec.ts';
import { ownPartitions, partitionsSpec } from '../../../../lib/spec/partitions-spec.ts';
import { readRepart } from '../../../../lib/spec/repart.ts';
import { sumDiskSize } from '../../../../lib/steps/compute-disk-size.ts';
import { createDisk } from '../../../../lib/steps/create-disk.ts';
import { writePartitions } from '../../../../lib/steps/write-partitions.ts';
import { MIB, parseIecSize } from '../../../../lib/units.ts';
import { type DemoSystems, prepareDemo } from '../../../../vm-images/demo.ts';
import { run } from '../../../helpers/run.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

// The tables were made by systemd-repart 257.13 from the same definitions:
// systemd-repart --empty=create --offline=yes --dry-run=no --json=short --size=SIZE --seed=SEED --definitions=DIRECTORY IMAGE

const NOTHING = { populateFrom: undefined, closure: undefined, size: undefined, packed: undefined };
const SEED = '5ab4b3a2-6a6f-4a2b-9c8e-1f2a3b4c5d6e';
const FIXTURES = packageFile('test/fixtures/repart');

const tableSchema = z.object({
  size: z.string(),
  partitions: z.array(
    z.object({
      ...{ type: z.string(), name: z.string(), uuid: z.string(), offsetBytes: z.number(), sizeBytes: z.number() },
      attributes: z.array(z.number()),
    }),
  ),
});

const cases = await readdir(FIXTURES);

test('there are at least twelve tables of systemd-repart', () => {
  expect(cases.length).toBeGreaterThanOrEqual(12);
});

test.each(cases)('the same table as that of systemd-repart: %s', async (name) => {
  const directory = join(FIXTURES, name);
  const { size, partitions: expected } = tableSchema.parse(
    JSON.parse(await readFile(join(directory, 'table.json'), 'utf8')),
  );
  const given = await readRepart({ directory, seed: SEED, architecture: 'x86-64' });
  const own = ownPartitions(partitionsSpec.parse(given), true);
  const measured = own.map((one): MeasuredPartition => {
    const { sizeBytes: leastBytes = 0 } = one;
    return { own: one, ...NOTHING, leastBytes };
  });
  const diskBytes = parseIecSize(size) ?? 0;
  const none = sumDiskSize({ dataBlocks: 0, inodes: 0, largestBytes: 0, hostBytes: 0 }, 'none', 0, 0);
  const sizes = sizesOnDisk(diskBytes, none, measured, false, 512);
  const image = join(await tempDirectory(), 'disk.img');
  await createDisk({ image, sizeBytes: diskBytes });
  await writePartitions({
    image,
    partitions: own.map(({ type, name: label, uuid, attributes, alignmentBytes }, index) => ({
      ...{ type, name: label, uuid, attributes: [...attributes], alignment: alignmentBytes },
      ...{ size: sizes[index]?.sizeBytes, padding: sizes[index]?.paddingBytes },
    })),
  });
  const { partitions } = await inspectImage({ image });
  const found = partitions.map(({ type, name: label, partitionUuid, offsetBytes, sizeBytes, attributes }) => ({
    ...{ type, name: label, uuid: partitionUuid, offsetBytes, sizeBytes, attributes: attributes.map(Number) },
  }));
  expect(found).toEqual(expected);
});

test.each(cases)('the table of an image is written back as definitions: %s', async (name) => {
  const directory = join(FIXTURES, name);
  const { size, partitions: expected } = tableSchema.parse(
    JSON.parse(await readFile(join(directory, 'table.json'), 'utf8')),
  );
  const image = join(await tempDirectory(), 'disk.img');
  await createDisk({ image, sizeBytes: parseIecSize(size) ?? 0 });
  // Where one begins is where another ends, and the free space after it.
  await writePartitions({
    image,
    partitions: expected.map(({ type, name: label, uuid, offsetBytes, sizeBytes, attributes }, index) => ({
      ...{ type, name: label, uuid, size: sizeBytes, attributes, alignment: 4096 },
      padding: Math.max(0, (expected[index + 1]?.offsetBytes ?? 0) - offsetBytes - sizeBytes),
    })),
  });
  const written = join(await tempDirectory(), 'repart.d');
  const cli = packageFile('dist/cli/main.js');
  await localExecutor.run([process.execPath, cli, 'inspect', image, '--repart', written]);
  const own = ownPartitions(partitionsSpec.parse(await readRepart({ directory: written })), true);
  let at = MIB;
  for (const [index, { type, name: label, uuid, sizeBytes, attributes, padding }] of own.entries()) {
    const found = { type, name: label, uuid, offsetBytes: at, sizeBytes, attributes };
    expect(found).toEqual(expected[index]);
    at += (sizeBytes ?? 0) + padding.leastBytes;
  }
  expect(own).toHaveLength(expected.length);
});

test('what systemd-repart cannot describe is refused', async () => {
  const image = join(await tempDirectory(), 'disk.img');
  await createDisk({ image, sizeBytes: 64 * MIB });
  const cli = packageFile('dist/cli/main.js');
  const refusal = async (): Promise<string> => {
    const written = join(await tempDirectory(), 'repart.d');
    const { exitCode, stderr } = await localExecutor.run([
      process.execPath,
      cli,
      'inspect',
      image,
      '--repart',
      written,
    ]);
    expect(exitCode).toBe(2);
    return stderr.toString('utf8');
  };
  expect(await refusal()).toContain('has no GPT');
  await writePartitions({ image, partitions: [{ type: 'home', name: 'x', attributes: [2] }] });
  expect(await refusal()).toContain(
    'partition 1 cannot be described for systemd-repart: it has attributes below bit 48',
  );
  await writePartitions({ image, partitions: [{ type: 'home', name: 'ends with \\' }] });
  expect(await refusal()).toContain('its name has a character that a definition cannot contain');
  const there = await localExecutor.run([process.execPath, cli, 'inspect', image, '--repart', FIXTURES]);
  expect(there.stderr.toString('utf8')).toContain('exists already');
  await writePartitions({ image, partitions: [{ type: 'home', name: 'x' }] });
  const unwritable = await localExecutor.run([process.execPath, cli, 'inspect', image, '--repart', '/proc/repart.d']);
  expect(unwritable.exitCode).toBe(2);
  expect(unwritable.stderr.toString('utf8')).toContain('--repart: /proc/repart.d cannot be written');
});

async function definitions(files: Record<string, string>): Promise<string> {
  const directory = await tempDirectory();
  for (const [name, text] of Object.entries(files)) {
    await mkdir(join(directory, name, '..'), { recursive: true });
    await writeFile(join(directory, name), text);
  }
  return directory;
}

const one = (lines: string): Promise<string> => definitions({ 'a.conf': `[Partition]\n${lines}\n` });

test.each<[string, string, RegExp]>([
  ['no type', 'Format=ext4', /a\.conf: Type: is required/],
  ['an unknown type', 'Type=hoem', /a\.conf: Type: "hoem" is not a partition type; did you mean "home"/],
  ['the type of nothing', 'Type=00000000-0000-0000-0000-000000000000', /a\.conf: Type: is the GUID of an unused entry/],
  ['an unknown key', 'Type=home\nSizeMin=1G', /a\.conf: SizeMin: "1G" is not supported/],
  ['a key in lower case', 'Type=home\nformat=ext4', /a\.conf: format: "ext4" is not supported/],
  ['an unknown section', 'Type=home\n[Install]\nX=1', /a\.conf: \[Install\] is not a section/],
  ['no setting', 'Type=home\nReadOnly', /a\.conf: "ReadOnly" is not a setting/],
  ['a size in lower case', 'Type=home\nSizeMinBytes=10m', /SizeMinBytes: "10m" is not a size/],
  ['a size in SI units', 'Type=home\nSizeMaxBytes=10MB', /SizeMaxBytes: "10MB" is not a size/],
  ['rising units', 'Type=home\nSizeMinBytes=512K 1M', /SizeMinBytes: "512K 1M" is not a size/],
  ['an empty size', 'Type=home\nSizeMinBytes=', /SizeMinBytes: "" is not a size/],
  ['more than the most', 'Type=home\nSizeMinBytes=2G\nSizeMaxBytes=1G', /SizeMinBytes: is more than SizeMaxBytes/],
  ['more padding than the most', 'Type=home\nPaddingMinBytes=2G\nPaddingMaxBytes=1G', /PaddingMinBytes: is more than/],
  ['a weight beyond the limit', 'Type=home\nWeight=1000001', /Weight: "1000001" is not a number from 0 to 1000000/],
  ['a priority of words', 'Type=home\nPriority=high', /Priority: "high" is not a number/],
  ['encryption', 'Type=home\nEncrypt=key-file', /Encrypt: "key-file" is not supported/],
  ['verity', 'Type=root\nVerity=data', /Verity: "data" is not supported/],
  ['subvolumes of ext4', 'Type=root\nCopyFiles=/\nSubvolumes=/a /b', /Subvolumes: is supported only with Format=btrfs/],
  ['a relative subvolume', 'Type=root\nFormat=btrfs\nSubvolumes=/a b', /Subvolumes: "b" is not an absolute path/],
  [
    'a flag of a subvolume',
    'Type=root\nFormat=btrfs\nSubvolumes=/a:ro',
    /Subvolumes: "\/a:ro" is not .* flags are not/,
  ],
  ['a subvolume that is not inside', 'Type=root\nFormat=btrfs\nSubvolumes=/../a', /Subvolumes: "\/\.\.\/a" is not/],
  ['a default subvolume', 'Type=root\nFormat=btrfs\nDefaultSubvolume=/a', /DefaultSubvolume: "\/a" is not supported/],
  ['blocks of another disk', 'Type=root\nCopyBlocks=auto', /CopyBlocks: "auto" is not supported/],
  ['directories', 'Type=root\nMakeDirectories=/a', /MakeDirectories: "\/a" is not supported/],
  ['another filesystem', 'Type=usr\nFormat=zfs\nCopyFiles=/usr:/', /Format: "zfs" is not supported; use ext4/],
  [
    'compression of ext4',
    'Type=home\nFormat=ext4\nCompression=zstd',
    /Compression: "zstd" is supported only with Format=erofs and squashfs/,
  ],
  [
    'an unknown compression',
    'Type=usr\nFormat=erofs\nCompression=xz',
    /Compression: "xz" is not a compression of erofs/,
  ],
  [
    'a level beyond the most',
    'Type=usr\nFormat=squashfs\nCompressionLevel=23',
    /CompressionLevel: is 23, but zstd of squashfs has levels from 1 to 22/,
  ],
  ['files elsewhere', 'Type=root\nCopyFiles=/etc:/factory', /CopyFiles: "\/etc:\/factory" is not supported/],
  ['files from two places', 'Type=root\nCopyFiles=/:/\nCopyFiles=/srv:/', /CopyFiles: is given several times/],
  [
    'files of another mount point',
    'Type=home\nCopyFiles=/srv:/\nMountPoint=/home',
    /CopyFiles: "\/srv:\/" is not what is mounted at \/home/,
  ],
  [
    'mount options',
    'Type=home\nMountPoint=/home:noatime',
    /MountPoint: .*mount options are those of the system's fileSystems/,
  ],
  ['two mount points', 'Type=home\nMountPoint=/home\nMountPoint=/srv', /MountPoint: is given several times/],
  ['a null UUID', 'Type=home\nUUID=null', /UUID: "null" is not supported/],
  ['half a UUID', 'Type=home\nUUID=1234', /UUID: "1234" is not a GUID/],
  ['a long label', `Type=home\nLabel=${'ä'.repeat(19)}`, /Label: .* is longer than 36 bytes/],
  ['a specifier', 'Type=home\nLabel=%v', /Label: "%v": specifiers are not supported/],
  ['half a boolean', 'Type=home\nReadOnly=maybe', /ReadOnly: "maybe" is not a boolean/],
  [
    'an attribute of another type',
    'Type=swap\nReadOnly=yes',
    /ReadOnly: is not an attribute of partitions of type swap/,
  ],
  ['flags of words', 'Type=home\nFlags=x', /Flags: "x" is not a number/],
  ['flags that are not written', 'Type=home\nFlags=0x5', /Flags: "0x5" sets bits below 48/],
  ['half of minimized', 'Type=home\nMinimize=most', /Minimize: "most" is not off, best or guess/],
])('%s is refused by name', async (_, lines, message) => {
  await expect(readRepart({ directory: await one(lines) })).rejects.toThrow(message);
});

test('a seed without dashes, and Minimize=yes', async () => {
  const directory = await one('Type=home\nMountPoint=/home\nMinimize=yes');
  const made = await readRepart({ directory, seed: SEED });
  expect(made).toEqual(await readRepart({ directory, seed: SEED.replaceAll('-', '') }));
  expect(made).toMatchObject([{ size: 'auto', additionalSpace: 0 }]);
});

test('directories of a btrfs that are subvolumes', async () => {
  const text =
    'Type=root\nFormat=btrfs\nMountPoint=/\nSubvolumes=/lost\nSubvolumes=\nSubvolumes=/home /var/log/\nSubvolumes=/home';
  const partitions = await readRepart({ directory: await one(text) });
  expect(partitions).toMatchObject([{ filesystem: 'btrfs', subvolumes: [{ path: 'home' }, { path: 'var/log' }] }]);
  const spec = parseImageSpec({ toplevel: '/x', bootLoaderFrom: 'bootspec', partitions });
  expect(spec.partitions?.[0]).toMatchObject({ role: 'root', mountPoint: '/' });
});

test('an ESP by its GUID is a FAT of a given size', async () => {
  const directory = await one('Type=c12a7328-f81f-11d2-ba4b-00a0c93ec93b\nMinimize=guess\nMountPoint=/boot');
  expect(await readRepart({ directory })).toMatchObject([{ filesystem: 'vfat', size: 10 * MIB }]);
});

test('what is not a definition is refused, or masks one', async () => {
  await expect(readRepart({ directory: '/does/not/exist' })).rejects.toThrow(/directory: .* does not exist/);
  await expect(readRepart({ directory: '/etc/passwd' })).rejects.toThrow(/directory: .* cannot be read/);
  await expect(readRepart({ directory: await definitions({ 'a.txt': '' }) })).rejects.toThrow(/has no definition/);
  await expect(readRepart({ directory: await one('Type=home'), seed: '1234' })).rejects.toThrow(
    /seed: 1234 is not a GUID/,
  );
  const directory = await definitions({ 'b.conf': '[Partition]\nType=home\n', 'c.conf': '' });
  await symlink('/dev/null', join(directory, 'a.conf'));
  await symlink('/dev/zero', join(directory, 'd.conf'));
  expect(await readRepart({ directory })).toHaveLength(1);
});

describe('a build', () => {
  let demo: DemoSystems;
  beforeAll(async () => {
    demo = await prepareDemo();
  });

  const FILES = {
    '10-esp.conf': '[Partition]\nType=esp\nFormat=vfat\nSizeMinBytes=100M\nSizeMaxBytes=100M\nMountPoint=/boot\n',
    '20-root.conf': '[Partition]\nType=root\nFormat=ext4\nLabel=root\nCopyFiles=/:/\nMinimize=guess\nWeight=0\n',
    '30-home.conf': '[Partition]\nType=home\nFormat=xfs\nCopyFiles=/home:/\nSizeMaxBytes=1G\n',
    '40-swap.conf': '[Partition]\nType=swap\nSizeMinBytes=16M\nSizeMaxBytes=16M\n',
  };

  test('of a disk of a given size, and of one that is as large as necessary', async () => {
    const partitions = await readRepart({ directory: await definitions(FILES), seed: SEED, architecture: 'x86-64' });
    for (const diskSize of ['2G', 'auto'] as const) {
      const built = await buildImage({
        ...{ outDir: await tempDirectory(), toplevel: demo.systems['tiny-systemd-boot'] ?? '', store: demo.store },
        ...{ bootLoaderFrom: 'bootspec', additionalSpace: '32M', diskSize },
        partitions: partitions.map(({ weight, maxSize, ...own }) =>
          diskSize === 'auto' ? own : { ...own, weight, maxSize },
        ),
      });
      const found = await inspectImage({ image: built.image, deep: true });
      expect(found.findings).toEqual([]);
      expect(found.partitions.map(({ name, filesystem }) => [name, filesystem?.type])).toEqual([
        ...[
          ['esp', 'vfat'],
          ['root', 'ext4'],
          ['home', 'xfs'],
          ['swap', 'swap'],
        ],
      ]);
      // Read back from what systemd-repart derives from the same seed.
      expect(found.partitions[0]?.partitionUuid).toBe('1bf97208-08ec-4843-8638-22c8765c51e0');
      expect(found.generations).toHaveLength(1);
      if (diskSize === '2G') expect(found.partitions[2]?.sizeBytes).toBe(1024 * MIB);
    }
  });

  test('by the command line', async () => {
    const directory = await definitions(FILES);
    const build = [
      process.execPath,
      packageFile('dist/cli/main.js'),
      'build',
      '--explain',
      '--boot-loader-from',
      'bootspec',
    ];
    const system = ['--toplevel', demo.systems['tiny-systemd-boot'] ?? '', '--store', demo.store];
    const explained = await run([...build, ...system, '--repart', directory, '--disk-size', '2G']);
    expect(explained).toContain('partition 3');
    expect(explained).toMatch(/xfs "home" at \/home/);
    const refusal = async (...more: string[]): Promise<string> => {
      const { exitCode, stderr } = await localExecutor.run([...build, ...system, ...more]);
      expect(exitCode).toBe(2);
      return stderr.toString('utf8');
    };
    expect(await refusal('--seed', SEED)).toContain('--seed: has an effect only with --repart');
    const own = ['--partitions', '{ "mountPoint": "/" }'];
    expect(await refusal('--repart', directory, ...own)).toContain('--repart: contradicts partitions');
    expect(await refusal('--repart', directory, '--partition-table-type', 'efi')).toContain('contradicts partitions');
    expect(await refusal('--repart', '/does/not/exist')).toContain('does not exist');
  });
});
