import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { beforeAll, describe, expect, test } from 'vitest';
import { packageFile } from '../../../../harness/cache-directory.ts';
import { type BuildImageOptions, buildImage } from '../../../../lib/build/build-image.ts';
import { planBuild } from '../../../../lib/build/plan.ts';
import { LUKS_HEADER_BYTES } from '../../../../lib/formats/luks.ts';
import { inspectImage } from '../../../../lib/inspect/inspect-image.ts';
import { readEncryptedDevices } from '../../../../lib/nix/encrypted-devices.ts';
import { type DemoSystems, prepareDemo } from '../../../../vm-images/demo.ts';
import { fakeSystem, storePath } from '../../../helpers/fake-system.ts';
import { buildAsNobody } from '../../../helpers/nobody.ts';
import { run } from '../../../helpers/run.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

const UUID = '0cb5c4d1-6f5a-4e0e-9f43-2d7a6b1e8c90';
const CHEAP = { type: 'pbkdf2', iterations: 1000 } as const;

let demo: DemoSystems;
beforeAll(async () => {
  demo = await prepareDemo();
});

async function options(
  encrypt: Partial<NonNullable<BuildImageOptions['encrypt']>> = {},
  more: Partial<BuildImageOptions> = {},
): Promise<BuildImageOptions> {
  const outDir = await tempDirectory();
  const passphraseFile = join(outDir, 'passphrase');
  await writeFile(passphraseFile, 'correct horse\n');
  return {
    ...{ outDir: join(outDir, 'out'), toplevel: demo.systems['tiny-systemd-boot-luks'] ?? '', store: demo.store },
    ...{ partitionTableType: 'efi', bootLoaderFrom: 'bootspec', additionalSpace: '32M', bootSize: '140M' },
    encrypt: { passphraseFile, keyDerivation: CHEAP, ...encrypt },
    ...more,
  };
}

test('the header gets the UUID that the initrd looks for, and the disk has room for it', async () => {
  const spec = await options();
  const { encrypt: _, ...without } = spec;
  const built = await buildImage(spec);
  expect(built.encryption).toMatchObject({ uuid: UUID, dataOffsetBytes: LUKS_HEADER_BYTES, keySlots: [{ id: 0 }] });
  const plain = await buildImage({ ...without, outDir: join(without.outDir, 'plain') });
  expect(built.virtualBytes).toBe(plain.virtualBytes + LUKS_HEADER_BYTES);
  expect(plain.encryption).toBeUndefined();
  const inspection = await inspectImage({
    ...{ image: built.image, passphraseFile: spec.encrypt?.passphraseFile, deep: true },
  });
  expect(inspection.findings).toEqual([]);
  expect(inspection.generations).toMatchObject([{ number: 1, toplevel: built.system.toplevel }]);
  expect(inspection.storePaths).toBe(built.system.storePaths.length);
});

test.each(['btrfs', 'xfs', 'f2fs'] as const)('a root of type %s', async (fsType) => {
  const spec = await options({}, { fsType });
  const built = await buildImage(spec);
  expect(built.encryption?.sectorBytes).toBe(fsType === 'xfs' ? 512 : 4096);
  const { partitions } = await inspectImage({
    ...{ image: built.image, passphraseFile: spec.encrypt?.passphraseFile, deep: true },
  });
  expect(partitions[1]?.encryption?.filesystem).toMatchObject({ type: fsType, label: 'nixos', findings: [] });
});

test.each(['hybrid', 'legacy+boot', 'efixbootldr'] as const)('the layout %s', async (partitionTableType) => {
  const spec = await options(
    {},
    {
      ...{ partitionTableType, installBootLoader: false, bootLoaderFrom: undefined },
    },
  );
  const { image, disk } = await buildImage(spec);
  const { partitions } = await inspectImage({ image, passphraseFile: spec.encrypt?.passphraseFile });
  const root = partitions.find(({ number }) => number === disk.root.number);
  expect(root?.encryption).toMatchObject({ uuid: UUID, filesystem: { type: 'ext4' } });
});

test('an ordinary user without a VM, twice with one volume key: only the header differs', async () => {
  const directory = await tempDirectory();
  // Where an ordinary user can read it.
  await run(['chmod', '755', directory]);
  for (const name of ['passphrase', 'key']) await writeFile(join(directory, name), 'x'.repeat(64));
  const { outDir: _, ...spec } = await options({}, { reproducible: true });
  const encrypt = {
    ...{ passphraseFile: join(directory, 'passphrase'), volumeKeyFile: join(directory, 'key'), keyDerivation: CHEAP },
  };
  const images: Buffer[] = [];
  for (const umask of ['022', '077']) {
    const { image, disk } = await buildAsNobody({ ...spec, store: demo.store, encrypt }, { umask });
    const bytes = await readFile(image);
    bytes.fill(0, disk.root.offsetBytes, disk.root.offsetBytes + LUKS_HEADER_BYTES);
    images.push(bytes);
  }
  expect(images[0]?.equals(images[1] ?? Buffer.alloc(0))).toBe(true);
});

describe('a system that would not find its root is refused before anything is made', () => {
  test.each([
    [
      'another UUID',
      { uuid: UUID.replace('0', 'f') },
      'tiny-systemd-boot-luks',
      /encrypt\.uuid: .* would not be found: the initrd of the system opens \/dev\/disk\/by-uuid\/0cb5/,
    ],
    [
      'another name',
      { name: 'root' },
      'tiny-systemd-boot-luks',
      /encrypt\.name: the system does not open "root" when it boots, only cryptroot/,
    ],
    [
      'no encrypted device at all',
      {},
      'tiny-systemd-boot',
      /encrypt: the system opens no encrypted device when it boots/,
    ],
    [
      'no passphrase',
      { passphraseFile: '/does/not/exist' },
      'tiny-systemd-boot-luks',
      /encrypt\.passphraseFile: \/does\/not\/exist does not exist/,
    ],
    [
      'a short volume key',
      { volumeKeyFile: '/etc/hostname' },
      'tiny-systemd-boot-luks',
      /buildImage: encrypt\.volumeKeyFile: .* has \d+ bytes/,
    ],
  ])('%s', async (_, encrypt, system, message) => {
    const spec = await options(encrypt, { toplevel: demo.systems[system] ?? '' });
    await expect(buildImage(spec)).rejects.toThrow(message);
    expect(await readdir(spec.outDir).catch(() => [])).toEqual([]);
  });
});

test.each([
  [{ partitionTableType: 'legacy+gpt' }, /encrypt: contradicts partitionTableType "legacy\+gpt"/],
  [{ partitionTableType: 'none' }, /encrypt: contradicts partitionTableType "none"/],
  [{ populateRootWith: 'cptofs' }, /encrypt: contradicts populateRootWith "cptofs"/],
  [{ reproducible: true }, /encrypt: contradicts reproducible: true/],
] as const)('what cannot be done is refused: %j', async (more, message) => {
  await expect(planBuild((({ outDir: _, ...spec }) => spec)(await options({}, more)))).rejects.toThrow(message);
});

test('the passphrase comes from a descriptor, which can be read only once', async () => {
  const { outDir, encrypt: _, ...spec } = await options();
  const cli = packageFile('dist/cli/main.js');
  const specification = JSON.stringify({ ...spec, encrypt: { passphraseFile: '/dev/fd/3', keyDerivation: CHEAP } });
  const file = join(await tempDirectory(), 'image.json');
  await writeFile(file, specification);
  const script = `exec 3< <(printf 'a passphrase'); exec "$1" "$2" build "$3" --out "$4"`;
  await run(['bash', '-euc', script, 'build', process.execPath, cli, file, outDir]);
  const inspect = `exec "$1" "$2" inspect "$3" --passphrase-file /dev/fd/3 --json 3< <(printf 'a passphrase\\n')`;
  const image = join(outDir, 'nixos.img');
  const { partitions } = JSON.parse(await run(['bash', '-euc', inspect, 'inspect', process.execPath, cli, image]));
  expect(partitions[1].encryption.filesystem).toMatchObject({ type: 'ext4' });
});

test('a recovery key is written only when the image is finished', async () => {
  const spec = await options({}, { postVM: ['false'] });
  const recoveryKeyFile = join(await tempDirectory(), 'recovery');
  const encrypt = { passphraseFile: '', ...spec.encrypt, recoveryKeyFile };
  await expect(buildImage({ ...spec, encrypt })).rejects.toThrow(/postVM hook failed/);
  await expect(readFile(recoveryKeyFile)).rejects.toThrow(/ENOENT/);
  const { image, encryption } = await buildImage({ ...spec, encrypt, postVM: undefined });
  expect(encryption?.tokens).toEqual(['systemd-recovery']);
  const inspection = await inspectImage({ image, passphraseFile: recoveryKeyFile });
  expect(inspection.partitions[1]?.encryption?.filesystem?.type).toBe('ext4');
});

test('the plan says which device the initrd opens', async () => {
  const { outDir: _, ...spec } = await options();
  const { phases } = await planBuild(spec);
  expect(phases).toContainEqual({
    phase: 'encryption',
    way: expect.stringContaining(`opened as cryptroot, UUID ${UUID}`),
    why: `encrypt; the initrd opens /dev/disk/by-uuid/${UUID}`,
  });
});

describe('how a real configuration may name its device', () => {
  /** A system of which only what the plan reads exists: the initrd with a crypttab. */
  async function plan(crypttab: string, more: Partial<BuildImageOptions> = {}) {
    const directory = await tempDirectory();
    const main = join(directory, 'main');
    await mkdir(join(main, 'etc'), { recursive: true });
    await writeFile(join(main, 'etc/crypttab'), crypttab);
    await run(['sh', '-c', 'find . | cpio --quiet -o -H newc > ../initrd'], { cwd: main });
    const store = join(directory, 'store');
    const { toplevel } = await fakeSystem(store, {
      files: {
        [`${storePath('initrd')}/initrd`]: '',
        [`${storePath('nixos-system-fake')}/etc/fstab`]: '/dev/mapper/root / ext4',
      },
    });
    await writeFile(join(store, storePath('initrd'), 'initrd'), await readFile(join(directory, 'initrd')));
    await symlink(`${storePath('initrd')}/initrd`, join(store, toplevel, 'initrd'));
    const { outDir: _, ...spec } = await options({}, { toplevel, store, bootLoader: 'systemd-boot', ...more });
    return (await planBuild(spec)).encryption;
  }

  test.each([
    ['a UUID', `root UUID=${UUID} -`, { uuid: UUID, name: 'root' }],
    ['a label', 'root /dev/disk/by-label/cryptroot -', { label: 'cryptroot' }],
    ['the name of the partition', 'root /dev/disk/by-partlabel/primary -', { name: 'root' }],
    ['its GUID', 'root /dev/disk/by-partuuid/f222513b-ded1-49fa-b591-20ce86a2fe7f none luks', { name: 'root' }],
    ['a device', 'root /dev/vda2 /key', { why: 'the initrd opens /dev/vda2, with the key in /key' }],
    ['one of several', `swap /dev/vda3 -\nroot UUID=${UUID}`, { uuid: UUID }],
  ])('%s', async (_, crypttab, expected) => {
    expect(await plan(crypttab)).toMatchObject(expected);
  });

  // The first is from a report: "/dev/disk/by-partlabel/luks is unavailable".
  test.each([
    [
      'another name of the partition',
      'root /dev/disk/by-partlabel/luks -',
      /the name of the root partition is "primary"/,
    ],
    ['another GUID', `root /dev/disk/by-partuuid/${UUID} -`, /rootGPUID: .* would not be found/],
    ['a detached header', 'root /dev/vda2 - header=/dev/sdb', /reads the LUKS header of root from \/dev\/sdb/],
    ['only others', 'swap /dev/vda3 -', /the system does not open "root" when it boots, only swap/],
  ])('%s is refused', async (_, crypttab, message) => {
    await expect(plan(crypttab)).rejects.toThrow(message);
  });
});

describe('an initrd as NixOS packs it', () => {
  /** Two archives, of which the first has the microcode, and the second is compressed; crypttab is a link into the store. */
  async function initrd(compress: 'gzip' | 'zstd' | 'xz' | 'none'): Promise<string> {
    const directory = await tempDirectory();
    const [early, main] = [join(directory, 'early'), join(directory, 'main')];
    await mkdir(join(early, 'kernel/x86/microcode'), { recursive: true });
    await writeFile(join(early, 'kernel/x86/microcode/GenuineIntel.bin'), 'x'.repeat(1001));
    const stored = 'nix/store/xpz4xgvnckgjv6ljxvhlx4kyck55j2s5-initrd-crypttab';
    await mkdir(join(main, 'nix/store'), { recursive: true });
    await mkdir(join(main, 'etc'));
    await writeFile(join(main, stored), `cryptroot /dev/disk/by-uuid/${UUID} - tpm2-device=auto\n`);
    await run(['ln', '-s', `/${stored}`, join(main, 'etc/crypttab')]);
    const archive = async (cwd: string): Promise<Buffer> => {
      await run(['sh', '-c', 'find . | cpio --quiet -o -H newc > ../archive'], { cwd });
      return readFile(join(directory, 'archive'));
    };
    const first = await archive(early);
    const plain = await archive(main);
    await writeFile(join(directory, 'plain'), plain);
    if (compress === 'zstd' || compress === 'xz') await run([compress, '-q', '-f', '-k', join(directory, 'plain')]);
    const packed = {
      none: async () => plain,
      gzip: async () => gzipSync(plain),
      zstd: () => readFile(join(directory, 'plain.zst')),
      xz: () => readFile(join(directory, 'plain.xz')),
    };
    await writeFile(join(directory, 'initrd'), Buffer.concat([first, await packed[compress]()]));
    return directory;
  }

  test.each(['none', 'gzip', 'zstd', 'xz'] as const)('compressed with %s', async (compress) => {
    expect(await readEncryptedDevices(await initrd(compress), '/initrd')).toMatchObject([
      { name: 'cryptroot', device: `/dev/disk/by-uuid/${UUID}` },
    ]);
  });

  test('what is none, or is damaged, is not taken for one without devices', async () => {
    const directory = await tempDirectory();
    await writeFile(join(directory, 'initrd'), Buffer.concat([Buffer.from('1f8b', 'hex'), Buffer.alloc(100)]));
    expect(await readEncryptedDevices(directory, '/initrd')).toBeUndefined();
    await writeFile(join(directory, 'initrd'), 'hello');
    expect(await readEncryptedDevices(directory, '/initrd')).toBeUndefined();
    expect(await readEncryptedDevices(directory, '/missing')).toBeUndefined();
  });
});
