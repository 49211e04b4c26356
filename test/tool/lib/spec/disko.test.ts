import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { packageFile } from '../../../../harness/cache-directory.ts';
import { buildImage } from '../../../../lib/build/build-image.ts';
import { inspectImage } from '../../../../lib/inspect/inspect-image.ts';
import { localExecutor } from '../../../../lib/run/local-executor.ts';
import { readDisko } from '../../../../lib/spec/disko.ts';
import { parseImageSpec } from '../../../../lib/spec/image-spec.ts';
import { roundDown } from '../../../../lib/units.ts';
import { type DemoSystems, prepareDemo } from '../../../../vm-images/demo.ts';
import { evaluate } from '../../../helpers/nix/evaluate.ts';
import { run } from '../../../helpers/run.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

// The tables were made by sgdisk 1.0.9, called as disko calls it, one partition after another:
// sgdisk --align-end --new=NUMBER:START:END --change-name=NUMBER:LABEL --typecode=NUMBER:TYPE IMAGE

const FIXTURES = packageFile('test/fixtures/disko');
const fixtureSchema = z.object({
  devices: z.record(z.string(), z.unknown()),
  table: z.array(z.object({ type: z.string(), name: z.string(), offsetBytes: z.number(), sizeBytes: z.number() })),
});
const cases = (await readdir(FIXTURES)).map((name) => name.replace('.json', ''));

async function fixture(name: string): Promise<z.output<typeof fixtureSchema>> {
  return fixtureSchema.parse(JSON.parse(await readFile(join(FIXTURES, `${name}.json`), 'utf8')));
}

async function jsonFile(value: unknown): Promise<string> {
  const file = join(await tempDirectory(), 'disko.json');
  await writeFile(file, JSON.stringify(value));
  return file;
}

const PASSPHRASE = 'correct horse';

let demo: DemoSystems;
beforeAll(async () => {
  demo = await prepareDemo();
});

/** A build of what the fixture describes, of any system. */
async function built(name: string, system = name === 'luks' ? 'tiny-systemd-boot-luks' : 'tiny-systemd-boot') {
  const { devices } = await fixture(name);
  const file = await jsonFile(devices);
  const passphraseFile = `${file}.passphrase`;
  await writeFile(passphraseFile, PASSPHRASE);
  const disk = await readDisko({ file, passphraseFile });
  return buildImage({
    ...{ toplevel: demo.systems[system] ?? '', store: demo.store, bootLoaderFrom: 'bootspec', ...disk },
    ...{ outDir: await tempDirectory(), installBootLoader: name !== 'gpt-bios' },
  });
}

test('there are at least twelve layouts', () => {
  expect(cases.length).toBeGreaterThanOrEqual(12);
});

test.each(cases.filter((name) => name !== 'types'))('the same table as that of disko’s sgdisk: %s', async (name) => {
  const { table } = await fixture(name);
  const { image } = await built(name);
  const { partitions, findings } = await inspectImage({ image, deep: true });
  expect(
    partitions.map(({ type, name: label, offsetBytes, sizeBytes }) => ({ type, name: label, offsetBytes, sizeBytes })),
  ).toEqual(
    // An absolute end includes the sector that begins there, which is left out here.
    table.map((one) => ({ ...one, sizeBytes: roundDown(one.sizeBytes, 4096) })),
  );
  // Some of the partitions are empty, and some layouts have no loader here.
  const others = findings.filter(
    ({ code, stage }) => code !== 'no-filesystem' && !['firmware', 'loader'].includes(stage),
  );
  expect(others).toEqual([]);
  expect(await run(['sfdisk', '--verify', image])).toContain('No errors detected');
});

test('types by the codes of sgdisk', async () => {
  const { devices, table } = await fixture('types');
  const { partitions } = await readDisko({ file: await jsonFile(devices) });
  expect(partitions.map(({ type }) => type?.toLowerCase())).toEqual(table.map(({ type }) => type));
});

test('attributes, a GUID, labels and mount points are those of the configuration', async () => {
  const { devices } = await fixture('odd-sizes');
  const disk = await readDisko({ file: await jsonFile({ disko: { devices } }) });
  const { partitions } = parseImageSpec({ toplevel: '/x', ...disk });
  expect(partitions?.[2]).toMatchObject({ attributes: [2, 63], uuid: '11111111-2222-4333-8444-555555555555' });
  expect(partitions?.[1]).toMatchObject({ role: 'esp', mountPoint: '/boot', filesystem: 'vfat', name: 'disk-main-b' });
  expect(partitions?.[4]).toMatchObject({ role: 'root', filesystemLabel: 'nixos' });
});

test('on a disk of another size, the rest is another', async () => {
  const { devices } = await fixture('simple-efi');
  const file = await jsonFile(devices);
  const [small, large] = [await readDisko({ file }), await readDisko({ file, diskSize: '3G' })];
  expect([small.diskSize, large.diskSize]).toEqual([2048, 3072]);
  expect(Number(large.partitions[1]?.size) - Number(small.partitions[1]?.size)).toBe(1024 ** 3);
});

test('an encrypted root is opened by the name and the files of the configuration', async () => {
  const root = { type: 'filesystem', format: 'ext4', mountpoint: '/' };
  const devices = (luks: object) => ({
    disk: {
      main: {
        content: {
          type: 'gpt',
          partitions: { p: { size: '100%', content: { type: 'luks', name: 'crypted', content: root, ...luks } } },
        },
      },
    },
  });
  const file = await jsonFile(devices({ passwordFile: '/run/password', additionalKeyFiles: ['/run/more'] }));
  expect(await readDisko({ file })).toMatchObject({
    partitions: [{ filesystem: 'ext4', mountPoint: '/' }],
    encrypt: { name: 'crypted', passphraseFile: '/run/password', morePassphraseFiles: ['/run/more'] },
  });
  expect((await readDisko({ file, passphraseFile: '/mine' })).encrypt?.passphraseFile).toBe('/mine');
});

test('subvolumes are mounted where disko’s module mounts them', async () => {
  // As disko's example btrfs-subvolumes is evaluated, with further options that do nothing.
  const subvolume = { type: 'btrfs_subvol', extraArgs: [], mountOptions: ['defaults'], mountpoint: null, swap: {} };
  const content = {
    ...{ type: 'btrfs', extraArgs: ['-f'], mountOptions: ['defaults'], mountpoint: null, swap: {} },
    subvolumes: {
      '/home': { ...subvolume, name: '/home', mountOptions: ['compress=zstd'], mountpoint: '/home' },
      '/rootfs': { ...subvolume, name: '/rootfs', mountpoint: '/' },
      '/test': { ...subvolume, name: '/test' },
    },
  };
  const partitions = { root: { size: '100%', content } };
  const file = await jsonFile({ disk: { main: { content: { type: 'gpt', partitions } } } });
  const read = await readDisko({ file });
  expect(read.partitions).toMatchObject([
    {
      filesystem: 'btrfs',
      subvolumes: [{ path: '/home', mountPoint: '/home' }, { path: '/rootfs', mountPoint: '/' }, { path: '/test' }],
    },
  ]);
  expect(parseImageSpec({ toplevel: '/x', bootLoaderFrom: 'bootspec', ...read }).partitions?.[0]).toMatchObject({
    ...{ role: 'root', mountPoint: '/', filesystemLabel: 'nixos' },
    subvolumes: [{ path: 'home' }, { path: 'rootfs' }, { path: 'test', mountPoint: undefined }],
  });
  const luks = { type: 'luks', name: 'crypted', passwordFile: '/run/password', content };
  const encrypted = await jsonFile({
    disk: { main: { content: { type: 'gpt', partitions: { root: { size: '100%', content: luks } } } } },
  });
  expect(await readDisko({ file: encrypted })).toMatchObject({ encrypt: { name: 'crypted' } });
});

describe('what is refused', () => {
  const partition = (more: object) => ({
    disk: { main: { imageSize: '1G', content: { type: 'gpt', partitions: { p: { size: '10M', ...more } } } } },
  });
  const luks = (more: object) =>
    partition({
      content: { type: 'luks', name: 'x', content: { type: 'filesystem', format: 'ext4', mountpoint: '/' }, ...more },
    });
  const content = (more: object) =>
    partition({ content: { type: 'filesystem', format: 'ext4', mountpoint: '/', ...more } });

  test.each<[string, unknown, RegExp]>([
    ['no disk', {}, /disk: has no disk/],
    ['two disks', { disk: { a: { content: { type: 'gpt' } }, b: {} } }, /disk: has 2 disks/],
    ['a volume group', { ...partition({}), lvm_vg: { pool: {} } }, /lvm_vg\.pool: is not supported/],
    ['a pool', { ...partition({}), zpool: { tank: {} } }, /zpool\.tank: is not supported/],
    [
      'an old table',
      { disk: { main: { content: { type: 'table' } } } },
      /content\.type: "table" is not supported; use "gpt"/,
    ],
    [
      'a hook of the disk',
      { disk: { main: { ...partition({}).disk.main, postCreateHook: 'echo' } } },
      /disk\.main\.postCreateHook: is not run/,
    ],
    ['a hook of a filesystem', content({ postMountHook: 'echo' }), /partitions\.p\.content\.postMountHook: is not run/],
    ['a hybrid MBR', partition({ hybrid: { mbrPartitionType: '0x0c' } }), /partitions\.p\.hybrid/],
    ['a start', partition({ start: '5M' }), /partitions\.p\.start: must be at most "1M"/],
    ['an alignment', partition({ alignment: 8 }), /partitions\.p\.alignment: 8 is not supported/],
    ['an unknown code', partition({ type: 'AF00' }), /partitions\.p\.type: "AF00" is not known here/],
    ['a size in words', partition({ size: 'all' }), /partitions\.p\.size: "\+all" is not supported/],
    ['a size of sectors', partition({ size: '3' }), /partitions\.p\.size: .*multiples of 4K/],
    ['an end in words', partition({ end: 'there' }), /partitions\.p\.end: "there" is not supported/],
    ['more than the disk has', partition({ size: '2G' }), /partitions\.p\.size: has no room on a disk of 1 GiB/],
    [
      'LUKS without a passphrase',
      luks({}),
      /partitions\.p\.content: needs a passphrase: set passphraseFile in encrypt/,
    ],
    [
      'LUKS of another partition',
      luks({ passwordFile: '/x', content: { type: 'swap' } }),
      /"luks" is supported only for the root/,
    ],
    [
      'a format of LUKS',
      luks({ passwordFile: '/x', extraFormatArgs: ['--pbkdf'] }),
      /extraFormatArgs: is not supported/,
    ],
    ['a token of LUKS', luks({ passwordFile: '/x', enrollFido2: true }), /enrollFido2: is not supported/],
    ['a hook of LUKS', luks({ passwordFile: '/x', postCreateHook: 'x' }), /content\.postCreateHook: is not run/],
    ['LVM', partition({ content: { type: 'lvm_pv', vg: 'x' } }), /content\.type: "lvm_pv" is not supported/],
    ['ext3', content({ format: 'ext3' }), /content\.format: "ext3" is not supported/],
    [
      'a swap file in a subvolume',
      partition({ content: { type: 'btrfs', subvolumes: { '/swap': { swap: { swapfile: { size: '1G' } } } } } }),
      /subvolumes\.\/swap\.swap\.swapfile: is not supported/,
    ],
    [
      'arguments of a subvolume',
      partition({ content: { type: 'btrfs', subvolumes: { '/x': { extraArgs: ['-i', '0/1'] } } } }),
      /subvolumes\.\/x\.extraArgs: are not supported/,
    ],
    ['options of mkfs', content({ extraArgs: ['-O', 'encrypt'] }), /extraArgs: "-O" is not supported/],
    ['attributes in words', partition({ attributes: ['x'] }), /attributes: \["x"\] are not numbers/],
  ])('%s', async (_, devices, message) => {
    await expect(readDisko({ file: await jsonFile(devices) })).rejects.toThrow(message);
  });

  test('what is not JSON', async () => {
    const directory = await tempDirectory();
    const file = join(directory, 'layout.nix');
    await writeFile(file, '{ disko.devices = { }; }');
    await expect(readDisko({ file })).rejects.toThrow(/file: .* is not a JSON object/);
    await expect(readDisko({ file: directory })).rejects.toThrow(/file: .* is not a JSON file/);
    await expect(readDisko({ file: '/does/not/exist' })).rejects.toThrow(/file: .* cannot be read/);
  });
});

test('nix/disko.nix leaves out what JSON cannot hold', async () => {
  const found = await evaluate(
    `import (project + "/nix/disko.nix") {
       disk.main = { _meta = x: x; _create = throw "never"; content.partitions.a = { size = "1M"; _index = 1; apply = x: x; list = [ { _x = 1; y = 2; } ]; }; };
     }`,
  );
  expect(found).toEqual({ disk: { main: { content: { partitions: { a: { size: '1M', list: [{ y: 2 }] } } } } } });
});

test('by the command line', async () => {
  const { devices } = await fixture('separate');
  const file = await jsonFile(devices);
  const build = [process.execPath, packageFile('dist/cli/main.js'), 'build', '--boot-loader-from', 'bootspec'];
  const system = ['--toplevel', demo.systems['tiny-systemd-boot'] ?? '', '--store', demo.store];
  expect(await run([...build, ...system, '--disko', file, '--explain'])).toMatch(/ext4 "home" at \/home/);
  const refusal = async (...more: string[]): Promise<string> => {
    const { exitCode, stderr } = await localExecutor.run([...build, ...system, '--explain', ...more]);
    expect(exitCode).toBe(2);
    return stderr.toString('utf8');
  };
  expect(await refusal('--disko', file, '--disk-size', 'auto')).toContain('"auto" contradicts --disko');
  expect(await refusal('--disko', file, '--repart', '/etc')).toContain('--repart: contradicts --disko');
});
