import { once } from 'node:events';
import { chmod, mkdir, readdir, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { type BuildImageOptions, type BuiltImage, buildImage } from '../../../../lib/build/build-image.ts';
import { planBuild } from '../../../../lib/build/plan.ts';
import { inspectImage } from '../../../../lib/inspect/inspect-image.ts';
import type { StepEvent } from '../../../../lib/run/step.ts';
import type { ImageSpecInput } from '../../../../lib/spec/image-spec.ts';
import { extractFilesystem } from '../../../../lib/steps/extract-filesystem.ts';
import { MIB, parseIecSize } from '../../../../lib/units.ts';
import { type DemoSystems, prepareDemo } from '../../../../vm-images/demo.ts';
import { codeBlocks } from '../../../helpers/code-blocks.ts';
import { fakeSystem, storePath } from '../../../helpers/fake-system.ts';
import { evaluate } from '../../../helpers/nix/evaluate.ts';
import { buildAsNobody } from '../../../helpers/nobody.ts';
import { run } from '../../../helpers/run.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

type Partitions = NonNullable<ImageSpecInput['partitions']>;

let demo: DemoSystems;
beforeAll(async () => {
  demo = await prepareDemo();
});

const ESP = { type: 'esp', size: '80M', mountPoint: '/boot' } as const;
const ROOT = { type: 'root-x86-64', mountPoint: '/' } as const;

async function options(
  partitions: Partitions,
  more: Partial<BuildImageOptions> = {},
  system = 'tiny-systemd-boot',
): Promise<BuildImageOptions> {
  return {
    ...{ outDir: join(await tempDirectory(), 'out'), toplevel: demo.systems[system] ?? '', store: demo.store },
    ...{ bootLoaderFrom: 'bootspec', additionalSpace: '32M', partitions, ...more },
  };
}

/** The files of an ext4 partition: path, mode and owner. */
async function filesOf(built: BuiltImage, number: number): Promise<string[]> {
  const partition = built.disk.partitions.find((one) => one.number === number);
  if (partition === undefined) throw new Error(`there is no partition ${number}`);
  const directory = join(await tempDirectory(), 'taken');
  const files = await extractFilesystem({ image: built.image, partition, fsType: 'ext4', directory });
  return files
    .filter(({ path }) => path !== 'lost+found')
    .map(({ path, mode, uid, gid }) => `/${path} ${mode.toString(8)} ${uid}:${gid}`)
    .sort();
}

test('every filesystem where it was asked for, and its own checker finds nothing', async () => {
  const built = await buildImage(
    await options([
      ESP,
      { type: 'swap', size: '40M', label: 'paging' },
      { type: 'home', filesystem: 'xfs', mountPoint: '/home', label: 'home' },
      { filesystem: 'btrfs', mountPoint: '/nix', label: 'nix' },
      { filesystem: 'f2fs', mountPoint: '/srv', size: '100M' },
      { filesystem: 'vfat', mountPoint: '/exchange', size: '20M', name: 'for others' },
      { type: 'linux-lvm', size: '3M' },
      ROOT,
    ]),
  );
  const { partitions, findings, efi } = await inspectImage({ image: built.image, deep: true });
  expect(partitions.map(({ filesystem }) => [filesystem?.type, filesystem?.label])).toEqual([
    ...[
      ['vfat', 'ESP'],
      ['swap', 'paging'],
      ['xfs', 'home'],
      ['btrfs', 'nix'],
      ['f2fs', 'srv'],
      ['vfat', 'EXCHANGE'],
    ],
    ...[
      [undefined, undefined],
      ['ext4', 'nixos'],
    ],
  ]);
  expect(findings).toEqual([]);
  expect(efi.loaders).toContain('EFI/BOOT/BOOTX64.EFI');
  expect(partitions[5]?.name).toBe('for others');
  // The store is on the btrfs alone.
  const root = (await filesOf(built, 8)).map((line) => line.split(' ')[0]);
  expect(root).toEqual(expect.arrayContaining(['/nix', '/home', '/srv', '/exchange', '/boot']));
  expect(root.filter((path) => path?.startsWith('/nix/'))).toEqual([]);
});

test('files, owners and modes go where the partition is that holds them', async () => {
  const source = await tempDirectory();
  await mkdir(join(source, 'www/deep'), { recursive: true });
  await writeFile(join(source, 'www/deep/page'), 'page');
  const file = join(source, 'www/deep/page');
  const built = await buildImage(
    await options(
      [
        ESP,
        { mountPoint: '/var/lib', label: 'lib' },
        { mountPoint: '/var', label: 'var' },
        { mountPoint: '/srv', label: 'srv' },
        ROOT,
      ],
      {
        contents: [
          { source: join(source, 'www'), target: '/srv', mode: 'u=rwX,go=', user: 'alice', group: 'users' },
          { source: file, target: '/var/one', mode: '640', user: '7', group: '8' },
          { source: file, target: '/var/lib/app/two', mode: '4711', user: 'root', group: '9' },
          { source: file, target: '/var/library/three' },
          { source: file, target: '/etc/four', user: '3', group: '4' },
          { source: file, target: '/boot/note' },
        ],
      },
    ),
  );
  expect(await filesOf(built, 2)).toEqual(['/ 755 0:0', '/app 755 0:0', '/app/two 4711 0:9']);
  expect(await filesOf(built, 3)).toEqual([
    ...['/ 755 0:0', '/lib 755 0:0', '/library 755 0:0', '/library/three 644 0:0', '/one 640 7:8'],
  ]);
  const srv = await filesOf(built, 4);
  expect(srv).toEqual(expect.arrayContaining([expect.stringMatching(/\/page 600 1000:100$/)]));
  const root = await filesOf(built, 5);
  expect(root).toEqual(expect.arrayContaining(['/var 755 0:0', '/etc/four 644 3:4', '/srv 700 0:0']));
  expect(root.filter((line) => /^\/(?:var|srv|boot)\//.test(line))).toEqual([]);
  const esp = built.disk.esp;
  expect(await run(['mdir', '-b', '-i', `${built.image}@@${esp?.offsetBytes}`, '::/note'])).toContain('note');
});

test('an owner of a directory is that of the partitions below it as well', async () => {
  const source = await tempDirectory();
  await writeFile(join(source, 'file'), '');
  const built = await buildImage(
    await options([ESP, { mountPoint: '/srv/a/b', label: 'b' }, ROOT], {
      contents: [{ source: `${source}/`, target: '/srv/a/b', user: '5', group: '6' }],
    }),
  );
  expect(await filesOf(built, 2)).toEqual(expect.arrayContaining(['/file 644 5:6']));
});

test.each<[string, string, string]>([
  ['/nix', '/store', 'nix'],
  ['/nix/store', '', 'store'],
])('a store at %s', async (mountPoint, below, label) => {
  const built = await buildImage(await options([ESP, { mountPoint, label }, ROOT]));
  const toplevel = built.system.toplevel.replace('/nix/store', below);
  expect((await filesOf(built, 2)).map((line) => line.split(' ')[0])).toContain(toplevel);
  const root = (await filesOf(built, 3)).map((line) => line.split(' ')[0]);
  expect(root).toContain(mountPoint);
  expect(root).not.toContain(built.system.toplevel);
  expect(root.includes('/nix/var/nix/db/db.sqlite')).toBe(mountPoint === '/nix/store');
  if (mountPoint === '/nix') {
    const inspected = await inspectImage({ image: built.image });
    expect(inspected).toMatchObject({ generations: [{ number: 1 }], storePaths: built.system.storePaths.length });
  }
});

test('read-only filesystems take what their files need, and are the same bytes each time', async () => {
  const source = await tempDirectory();
  await writeFile(join(source, 'page'), 'page '.repeat(100_000));
  const images: BuiltImage[] = [];
  for (const _ of [1, 2])
    images.push(
      await buildImage(
        await options(
          [
            ESP,
            { mountPoint: '/nix/store', filesystem: 'erofs', label: 'store' },
            { mountPoint: '/srv', filesystem: 'squashfs', compression: 'xz', size: '4M', name: 'srv' },
            { populateFrom: source, filesystem: 'squashfs' },
            { mountPoint: '/srv/empty', filesystem: 'erofs' },
            ROOT,
          ],
          {
            reproducible: true,
            contents: [{ source: `${source}/`, target: '/srv', user: '7', group: '8' }],
          },
        ),
      ),
    );
  const [built] = images;
  if (built === undefined) throw new Error('two images were built');
  await run(['cmp', built.image, images[1]?.image ?? '']);
  const { partitions, findings } = await inspectImage({ image: built.image, deep: true });
  expect(findings.map(({ message }) => message).join()).toMatch(/the check of the squashfs of partition 3: no program/);
  expect(findings).toHaveLength(2);
  expect(partitions.map(({ filesystem, sizeBytes }) => [filesystem?.type, filesystem?.label, sizeBytes / MIB])).toEqual(
    [
      ['vfat', 'ESP', 80],
      ['erofs', 'store', expect.any(Number)],
      ['squashfs', '', 4],
      ['squashfs', '', 1],
      ['erofs', 'empty', 1],
      ['ext4', 'nixos', expect.any(Number)],
    ],
  );
  const root = (await filesOf(built, 6)).map((line) => line.split(' ')[0]);
  expect(root).toEqual(expect.arrayContaining(['/nix/store', '/nix/var/nix/db/db.sqlite', '/srv']));
  expect(root.filter((path) => /^\/(?:srv|nix\/store)\//.test(path ?? ''))).toEqual([]);
  const srv = built.disk.partitions[2];
  const list = ['unsquashfs', '-lln', '-o', `${srv?.offsetBytes}`, built.image];
  expect(await run(list)).toMatch(/-rw-r--r-- 7\/8 +500000 1970-01-01 00:00 squashfs-root\/page/);
});

test('docs/layouts.md: a store that is only read', async () => {
  const block = (beginning: string): string => codeBlocks().find(({ text }) => text.startsWith(beginning))?.text ?? '';
  const store = JSON.parse(block('{ "mountPoint": "/nix/store"')) as Partitions[number];
  const srv = { mountPoint: '/srv', filesystem: 'squashfs' } as const;
  const spec = await options([ESP, store, ROOT, srv], {}, 'tiny-systemd-boot-packed');
  const built = await buildImage(spec);
  // The system mounts what the module says.
  const module = join(await tempDirectory(), 'module.nix');
  await writeFile(module, block('{\n  fileSystems."/nix/store"'));
  const { fileSystems } = (await evaluate(`import ${JSON.stringify(module)}`)) as {
    fileSystems: Record<string, { device: string; fsType: string }>;
  };
  const { device = '', fsType } = fileSystems['/nix/store'] ?? {};
  const { partitions } = await inspectImage({ image: built.image });
  expect(partitions[1]?.filesystem).toMatchObject({ type: fsType, label: device.replace('/dev/disk/by-label/', '') });
  // What it does not find there is refused.
  const other = { ...store, label: 'other' };
  await expect(buildImage({ ...spec, partitions: [ESP, other, ROOT, srv] })).rejects.toThrow(
    /label: is "other", but the system mounts \/dev\/disk\/by-label\/store at \/nix\/store/,
  );
});

test('docs/layouts.md: a root in memory', async () => {
  const text = codeBlocks().find((block) => block.text.startsWith('[\n  { "type": "esp", "size": "300M"'))?.text ?? '';
  const built = await buildImage(await options(JSON.parse(text), {}, 'tiny-systemd-boot-tmpfs'));
  const { partitions, findings, generations } = await inspectImage({ image: built.image, deep: true });
  expect(findings).toEqual([]);
  expect(partitions.map(({ filesystem }) => filesystem?.label)).toEqual(['ESP', 'nix', 'persist']);
  expect(built.filesystem).toMatchObject({ fsType: 'ext4', label: 'nix', uuid: partitions[1]?.filesystem?.uuid });
  expect(generations).toHaveLength(1);
});

test.each<[string, Partitions[number], RegExp]>([
  ['a root', { mountPoint: '/', filesystem: 'erofs' }, /"erofs" cannot be the root: a system writes there/],
  ['nothing at all', { filesystem: 'erofs' }, /populateFrom: is required for erofs without a mountPoint/],
  ['/boot', { mountPoint: '/boot', filesystem: 'squashfs' }, /"squashfs" cannot be \/boot/],
  ['a label', { mountPoint: '/srv', filesystem: 'squashfs', label: 'x' }, /label: "squashfs" has neither a label nor/],
  [
    'a UUID',
    { mountPoint: '/srv', filesystem: 'squashfs', filesystemUuid: 'x' },
    /filesystemUuid: "squashfs" has neither/,
  ],
  ['free space', { mountPoint: '/srv', filesystem: 'erofs', additionalSpace: '1M' }, /has no effect on erofs/],
  [
    'a compression',
    { mountPoint: '/srv', filesystem: 'erofs', compression: 'xz' },
    /"xz" is not a compression of erofs/,
  ],
  [
    'a level',
    { mountPoint: '/srv', filesystem: 'squashfs', compressionLevel: 23 },
    /compressionLevel: is 23, but zstd of squashfs has levels from 1 to 22/,
  ],
  [
    'the compression of an ext4',
    { mountPoint: '/srv', compression: 'zstd' },
    /has an effect only on erofs and squashfs/,
  ],
  ['too small', { mountPoint: '/nix/store', filesystem: 'erofs', size: '1M' }, /size: is 1 MiB, but its content needs/],
])('what a read-only filesystem cannot be is refused by name: %s', async (_, partition, message) => {
  const others = partition.mountPoint === '/' ? [ESP] : partition.mountPoint === '/boot' ? [ROOT] : [ESP, ROOT];
  await expect(buildImage(await options([...others, partition]))).rejects.toThrow(message);
});

test('a directory of this host goes onto a partition that nothing mounts', async () => {
  const source = await tempDirectory();
  await writeFile(join(source, 'a file'), 'x');
  const built = await buildImage(
    await options([
      ESP,
      { populateFrom: source, label: 'seed' },
      { populateFrom: source, filesystem: 'vfat', label: 'CIDATA', size: '5M' },
      ROOT,
    ]),
  );
  expect(await filesOf(built, 2)).toEqual(
    ['/ 755 0:0', '/a file 644 0:0'].map((line) => expect.stringContaining(line.split(' 7')[0] ?? line)),
  );
  const cidata = built.disk.partitions[2];
  expect(await run(['mdir', '-b', '-i', `${built.image}@@${cidata?.offsetBytes}`, '::/'])).toContain('a file');
});

test('setuid files of a directory stay so, and the bytes are the same for every user who builds it', async () => {
  const source = await tempDirectory();
  await chmod(source, 0o755);
  await writeFile(join(source, 'program'), '#!/bin/sh');
  await chmod(join(source, 'program'), 0o6755);
  const given = { populateFrom: source, size: '5M' } as const;
  const seeds = [
    { ...given, filesystem: 'erofs' },
    { ...given, filesystem: 'squashfs' },
    { ...given, filesystem: 'ext4', label: 'seed' },
  ] as const;
  const { outDir, ...spec } = await options([ESP, ROOT, ...seeds], {
    reproducible: true,
  });
  const [built, again] = [await buildImage({ ...spec, outDir }), await buildAsNobody({ ...spec, store: demo.store })];
  await run(['cmp', built.image, again.image]);
  const offset = built.disk.partitions[3]?.offsetBytes;
  expect(await run(['unsquashfs', '-lln', '-o', `${offset}`, again.image])).toMatch(/-rwsr-sr-x 0\/0 .*program/);
});

test('files that a partition cannot get are named before anything is made', async () => {
  const source = await tempDirectory();
  await mkdir(join(source, 'deep/er'), { recursive: true });
  const server = createServer().listen(join(source, 'deep/er/socket'));
  await once(server, 'listening');
  const seed = await options([ESP, ROOT, { populateFrom: source, label: 'seed' }]);
  await expect(buildImage(seed)).rejects.toThrow(/partitions\[2\]\.populateFrom: .*deep\/er\/socket is a socket/);
  server.close();
  await once(server, 'close');
  await writeFile(join(source, 'a name'), '');
  const home = await options([ESP, ROOT, { mountPoint: '/srv', filesystem: 'xfs' }], {
    contents: [{ source: join(source, 'a name'), target: '/srv/a name' }],
  });
  const events: StepEvent[] = [];
  await expect(buildImage(home, { onEvent: (event) => events.push(event) })).rejects.toThrow(
    /partitions\[2\]\.filesystem: "xfs" cannot store "a name"/,
  );
  expect(events.map(({ step }) => step)).not.toContain('createDisk');
});

test('a disk of a given size is shared out by weight', async () => {
  const built = await buildImage(
    await options(
      [ESP, { ...ROOT, weight: 1 }, { mountPoint: '/srv', weight: 3, size: '50M' }, { type: 'swap', size: '7M' }],
      {
        diskSize: '1G',
      },
    ),
  );
  const [esp, root, srv, swap] = built.disk.partitions.map(({ sizeBytes }) => sizeBytes / MIB);
  expect([esp, swap]).toEqual([80, 7]);
  expect((esp ?? 0) + (root ?? 0) + (srv ?? 0) + (swap ?? 0)).toBe(1024 - 2);
  expect([root, srv]).toEqual([Math.floor((1022 - 87) / 4), 1022 - 87 - Math.floor((1022 - 87) / 4)]);
});

test.each<[string, Partitions]>([
  ['free space between', [{ ...ESP, padding: { size: '10M' } }, ROOT]],
  ['free space at the end', [ESP, { ...ROOT, padding: { size: '10M' } }]],
  [
    'free space after each',
    [
      { ...ESP, padding: { size: '5000K' } },
      { ...ROOT, padding: { size: '16M' } },
      { type: 'swap', size: '8M' },
    ],
  ],
  [
    'large alignments',
    [
      { ...ESP, alignment: '16M' },
      { ...ROOT, alignment: '16M' },
    ],
  ],
  [
    'mixed alignments',
    [
      { ...ESP, alignment: '4K' },
      { ...ROOT, alignment: '16M' },
      { type: 'swap', size: '44K', alignment: '4K' },
    ],
  ],
  [
    'a large one last',
    [{ type: 'swap', size: '44K', alignment: '4K' }, ESP, { ...ROOT, alignment: '8M', padding: { size: 1 } }],
  ],
])('a disk that is as large as necessary: %s', async (_, partitions) => {
  const built = await buildImage(await options(partitions));
  const made = built.disk.partitions;
  for (const [index, { offsetBytes, sizeBytes }] of made.entries()) {
    const { alignment = '1M', padding } = partitions[index] ?? {};
    const [unit, space] = [parseIecSize(alignment) ?? 0, parseIecSize(padding?.size ?? 0) ?? 0];
    expect([offsetBytes % unit, sizeBytes % unit]).toEqual([0, 0]);
    const end = offsetBytes + sizeBytes;
    expect((made[index + 1]?.offsetBytes ?? built.virtualBytes - 20_480) - end).toBeGreaterThanOrEqual(space);
  }
  expect(built.size?.diskBytes).toBe(built.virtualBytes);
  expect((await inspectImage({ image: built.image, deep: true })).findings).toEqual([]);
});

test.each<[string, Partitions, Partial<BuildImageOptions>, RegExp]>([
  [
    'a limit below the content',
    [ESP, { ...ROOT, maxSize: '10M', weight: 1 }],
    {},
    /partitions\[1\]\.maxSize: is 10 MiB, but its content needs about/,
  ],
  [
    'a disk below the content',
    [ESP, ROOT],
    { diskSize: '100M' },
    /diskSize: is 100 MiB, but the partitions need .* bytes more/,
  ],
  [
    'a disk that lacks its end',
    [ESP, { ...ROOT, size: '943M' }],
    { diskSize: '1G' },
    /diskSize: is 1 GiB, but the partitions need/,
  ],
  [
    'a size below the content',
    [ESP, { ...ROOT, size: '10M' }],
    {},
    /partitions\[1\]\.size: is 10 MiB, but its content needs about/,
  ],
])('%s is named before the disk is made', async (_, partitions, more, message) => {
  const spec = await options(partitions, more);
  const events: string[] = [];
  const context = { onEvent: (event: StepEvent) => void events.push(event.step) };
  await expect(buildImage(spec, context)).rejects.toThrow(message);
  expect(events).not.toContain('createDisk');
  expect(await readdir(spec.outDir)).toEqual([]);
});

test('the same bytes twice, as an ordinary user', async () => {
  const partitions: Partitions = [
    { ...ESP },
    { type: 'swap', size: '10M' },
    { mountPoint: '/home' },
    { mountPoint: '/nix' },
    ROOT,
  ];
  const images = [];
  for (const _ of [1, 2]) images.push((await buildImage(await options(partitions, { reproducible: true }))).image);
  await run(['cmp', ...images]);
  const { outDir: _, ...spec } = await options(partitions, { reproducible: true });
  const third = await buildAsNobody({ ...spec, store: demo.store });
  await run(['cmp', images[0] ?? '', third.image]);
});

test('the smallest root beside other partitions', async () => {
  const partitions: Partitions = [ESP, { mountPoint: '/home', size: '20M' }, ROOT];
  const large = await buildImage(await options(partitions));
  const small = await buildImage(await options(partitions, { minimize: true, additionalSpace: '1M' }));
  expect(small.virtualBytes).toBeLessThan(large.virtualBytes);
  expect(small.filesystem.freeBytes).toBeLessThan(2.5 * MIB);
  expect(small.size?.diskBytes).toBe(small.virtualBytes);
  expect((await inspectImage({ image: small.image, deep: true })).findings).toEqual([]);
});

test('an encrypted root, sectors of 4096 bytes', async () => {
  const passphraseFile = join(await tempDirectory(), 'passphrase');
  await writeFile(passphraseFile, 'correct horse');
  const encrypt = { passphraseFile, keyDerivation: { type: 'pbkdf2', iterations: 1000 } } as const;
  const spec = await options(
    [{ ...ESP, size: '300M' }, ROOT, { type: 'swap', size: '8M' }],
    { encrypt, sectorSize: 4096 },
    'tiny-systemd-boot-luks',
  );
  const built = await buildImage(spec);
  const { partitions, findings, sectorBytes } = await inspectImage({ image: built.image, passphraseFile, deep: true });
  expect(findings).toEqual([]);
  expect(sectorBytes).toBe(4096);
  expect(partitions.map(({ filesystem }) => filesystem?.type)).toEqual(['vfat', 'crypto_LUKS', 'swap']);
});

test('a partition that is too small is named with what it needs, and nothing is left', async () => {
  const spec = await options([ESP, { mountPoint: '/nix', size: '10M' }, ROOT]);
  await expect(buildImage(spec)).rejects.toThrow(/10 MiB/);
  expect(await readdir(spec.outDir)).toEqual([]);
});

test.each<[string, (directory: string) => Promise<Partial<BuildImageOptions>>, Partitions, RegExp]>([
  [
    'a file at a mount point',
    async (at) => ({ contents: [{ source: join(at, 'file'), target: '/srv' }] }),
    [ESP, { mountPoint: '/srv' }, ROOT],
    /cannot make \/srv|replaces the directory \/srv/,
  ],
  [
    'a link at a mount point',
    async (at) => ({ contents: [{ source: join(at, 'tree'), target: '/srv' }] }),
    [ESP, { mountPoint: '/srv/link' }, ROOT],
    /leaves the root through the symbolic link|replaces the directory \/srv\/link/,
  ],
  [
    'a link inside of the root at a mount point',
    async (at) => ({ contents: [{ source: join(at, 'tree'), target: '/srv' }] }),
    [ESP, { mountPoint: '/srv/inner/x' }, ROOT],
    /replaces the directory \/srv\/inner\/x/,
  ],
  [
    'no source',
    async () => ({}),
    [ESP, { populateFrom: '/does/not/exist' }, ROOT],
    /partitions\[1\]\.populateFrom: .*does not exist/,
  ],
  [
    'a link for a FAT',
    async () => ({}),
    [ESP, { populateFrom: '/etc/alternatives', filesystem: 'vfat' }, ROOT],
    /partitions\[1\]\.populateFrom: \/.* is a symbolic link, which a FAT cannot store/,
  ],
  [
    'a file as the source',
    async () => ({}),
    [ESP, { populateFrom: '/etc/passwd' }, ROOT],
    /populateFrom: .*not a directory/,
  ],
])('%s is refused', async (_, given, partitions, message) => {
  const source = await tempDirectory();
  await writeFile(join(source, 'file'), '');
  await mkdir(join(source, 'tree/target'), { recursive: true });
  await symlink('/tmp', join(source, 'tree/link'));
  await symlink('target', join(source, 'tree/inner'));
  await expect(buildImage(await options(partitions, await given(source)))).rejects.toThrow(message);
});

test('an output directory inside of a source is refused', async () => {
  const source = await tempDirectory();
  const spec = await options([ESP, { populateFrom: source }, ROOT], { outDir: join(source, 'out') });
  await expect(buildImage(spec)).rejects.toThrow(/partitions\[1\]\.populateFrom: .*would be copied into itself/);
});

test('--explain draws the disk', async () => {
  const { outDir: _, ...spec } = await options([ESP, { type: 'swap', size: '2G' }, { ...ROOT, weight: 1 }], {
    diskSize: '20G',
  });
  const { phases } = await planBuild(spec);
  expect(phases.filter(({ phase }) => phase.startsWith('partition '))).toEqual([
    { phase: 'partition 1', way: '80 MiB, vfat "ESP" at /boot', why: 'partitions[0], type esp' },
    { phase: 'partition 2', way: '2 GiB, swap "swap"', why: 'partitions[1], type swap' },
    {
      phase: 'partition 3',
      way: 'as large as its content needs or more, by weight 1, ext4 "nixos" at /',
      why: 'partitions[2], type root-x86-64',
    },
  ]);
});

describe('what the system mounts', () => {
  /** A system with only the files that the plan reads. */
  async function plan(fstab: string, partitions: Partitions, more: Partial<ImageSpecInput> = {}) {
    const { store, toplevel } = await fakeSystem(join(await tempDirectory(), 'store'), {
      files: {
        [`${storePath('nixos-system-fake')}/etc/fstab`]: fstab,
        [`${storePath('nixos-system-fake')}/system`]: 'x86_64-linux',
      },
    });
    return planBuild({ toplevel, store, bootLoaderFrom: 'bootspec', bootLoader: 'systemd-boot', partitions, ...more });
  }

  // The first is as nixos/modules/tasks/filesystems.nix writes it.
  const NIXOS = `# This is a generated file.  Do not edit!
#
# To make changes, edit the fileSystems and swapDevices NixOS options
# in your /etc/nixos/configuration.nix file.
#
# <file system> <mount point>   <type>  <options>       <dump>  <pass>

# Filesystems.
/dev/disk/by-label/nixos / ext4 x-initrd.mount,defaults 0 1
/dev/disk/by-label/ESP /boot vfat fmask=0077,dmask=0077,defaults 0 2
/dev/disk/by-partlabel/disk-main-home /home xfs defaults 0 2
/dev/disk/by-uuid/11111111-2222-4333-8444-555555555555 /my\\040data ext4 nofail,defaults 0 2
tmpfs /tmp tmpfs size=50%,defaults 0 0
/nix/store /mnt/store none bind 0 0

# Swap devices.
/dev/disk/by-label/swap none swap defaults
`;
  const HOME = { name: 'disk-main-home', mountPoint: '/home', filesystem: 'xfs' } as const;
  const DATA = { mountPoint: '/my data', filesystemUuid: '11111111-2222-4333-8444-555555555555' };
  const SWAP = { filesystem: 'swap', size: '1G' } as const;

  describe('without a root on the disk', () => {
    const TMPFS = 'tmpfs / tmpfs mode=755 0 0\nLABEL=nix /nix ext4\nLABEL=ESP /boot vfat\n';
    const NIX = { mountPoint: '/nix', label: 'nix' } as const;

    test('a system with its root in memory has one with its store', async () => {
      const { phases } = await plan(TMPFS, [ESP, NIX]);
      expect(phases).toContainEqual(
        expect.objectContaining({ phase: 'root filesystem', way: 'in memory, by the system' }),
      );
      const content = { source: '/etc/hosts', target: '/nix/x' };
      await plan(TMPFS, [ESP, NIX], { contents: [content] });
    });

    test.each<[string, string, Partitions, Partial<ImageSpecInput>, RegExp]>([
      [
        'another root',
        'LABEL=x / ext4\n',
        [ESP, NIX],
        {},
        /root of the system is not in memory: .*by-label\/x \(ext4\)/,
      ],
      ['no root at all', '', [ESP, NIX], {}, /has no fileSystems\."\/"/],
      ['no store', TMPFS, [ESP, { mountPoint: '/srv' }], {}, /nor one with "\/nix" or "\/nix\/store"/],
      ['the VM', TMPFS, [ESP, NIX], { bootLoaderFrom: 'switch-to-configuration' }, /bootLoaderFrom: .*needs a root on/],
      ['minimize', TMPFS, [ESP, NIX], { minimize: true }, /minimize: needs a root on the disk/],
      ['encrypt', TMPFS, [ESP, NIX], { encrypt: { passphraseFile: '/x' } }, /encrypt: encrypts the root/],
      ['configFile', TMPFS, [ESP, NIX], { configFile: '/etc/hosts' }, /configFile: would be lost/],
      [
        'files on no partition',
        TMPFS,
        [ESP, NIX],
        { contents: [{ source: '/etc/hosts', target: '/etc/x' }] },
        /contents\[0\]\.target: would be lost: \/etc\/x is on no partition/,
      ],
    ])('%s is refused', async (_, fstab, partitions, more, message) => {
      await expect(plan(fstab, partitions, more)).rejects.toThrow(message);
    });
  });

  test('all that agrees is accepted, and partitions may be missing', async () => {
    await plan(NIXOS, [ESP, HOME, DATA, SWAP, ROOT]);
    await plan(NIXOS, [ESP, ROOT]);
    await plan('', [ESP, HOME, ROOT]);
    await plan('LABEL=my\\040data / ext4', [ESP, { ...ROOT, label: 'my data' }]);
    await plan('UUID=1234-ABCD /boot vfat\nPARTLABEL="my root" / auto', [
      { ...ESP, filesystemUuid: '1234abcd' },
      { ...ROOT, name: 'my root' },
    ]);
    await plan('/dev/disk/by-label/a\\x20b / ext4', [ESP, { ...ROOT, label: 'a b' }]);
    await plan('/dev/vda2 / ext4\n/dev/vda3 none swap', [ESP, ROOT, SWAP]);
    await plan('/dev/disk/by-label/nixos / ext4', [ESP, ROOT, { type: 'home', mountPoint: '/home' }]);
  });

  test.each<[string, Partitions, RegExp]>([
    [
      'another label',
      [ESP, { ...ROOT, label: 'root' }],
      /partitions\[1\]\.label: is "root", but the system mounts \/dev\/disk\/by-label\/nixos at \//,
    ],
    [
      'another type',
      [ESP, { ...ROOT, filesystem: 'btrfs' }],
      /partitions\[1\]\.filesystem: is "btrfs", but the system mounts "ext4" at \//,
    ],
    ['another name', [ESP, { ...HOME, name: 'home' }, ROOT], /partitions\[1\]\.name: is "home", but/],
    [
      'another UUID',
      [ESP, { mountPoint: '/my data' }, ROOT],
      /partitions\[1\]\.filesystemUuid: is ".*", but the system mounts \/dev\/disk\/by-uuid\/1111/,
    ],
    [
      'what nothing mounts',
      [ESP, { mountPoint: '/srv' }, ROOT],
      /partitions\[1\]\.mountPoint: the system mounts nothing at \/srv/,
    ],
    [
      'a discovered type elsewhere',
      [ESP, { type: 'home', mountPoint: '/data', label: 'd' }, ROOT],
      /partitions\[1\]\.mountPoint: the system mounts nothing at \/data/,
    ],
    [
      'one that is mounted elsewhere',
      [ESP, { ...HOME, type: 'home', mountPoint: '/HOME' }, ROOT],
      /partitions\[1\]\.mountPoint: is \/HOME, but the system mounts this partition at \/home/,
    ],
    [
      'an ESP that is mounted elsewhere',
      [{ ...ESP, mountPoint: '/efi' }, ROOT],
      /partitions\[0\]\.mountPoint: is \/efi, but the system mounts this partition at \/boot/,
    ],
    [
      'no-auto',
      [ESP, { type: 'srv', mountPoint: '/srv', attributes: ['no-auto'] }, ROOT],
      /partitions\[1\]\.mountPoint: the system mounts nothing at \/srv/,
    ],
    [
      '/var, which needs the machine-id',
      [ESP, { type: 'var', mountPoint: '/var' }, ROOT],
      /the system mounts nothing at \/var/,
    ],
    [
      'another architecture',
      [ESP, { type: 'usr-arm64', mountPoint: '/usr' }, ROOT],
      /the system mounts nothing at \/usr/,
    ],
    [
      'a name twice',
      [ESP, HOME, { ...DATA, name: 'disk-main-home' }, ROOT],
      /partitions\[1\]\.name: "disk-main-home" is that of another partition as well/,
    ],
    [
      'another swap',
      [ESP, { ...SWAP, type: 'linux-generic', label: 'paging' }, ROOT],
      /partitions\[1\]\.label: "paging" is not a swap of the system/,
    ],
  ])('%s is refused', async (_, partitions, message) => {
    await expect(plan(NIXOS, partitions)).rejects.toThrow(message);
  });

  test.each<[string, string, Partitions]>([
    [
      'lower case of a FAT',
      'UUID=1234-abcd /boot vfat\n/dev/vda2 / ext4',
      [{ ...ESP, filesystemUuid: '1234-ABCD' }, ROOT],
    ],
    ['upper case', '/dev/disk/by-uuid/F222513B-DED1-49FA-B591-20CE86A2FE7F / ext4', [ESP, ROOT]],
    ['a blank that udev escapes', '/dev/disk/by-label/my\\040data / ext4', [ESP, { ...ROOT, label: 'my data' }]],
  ])('a link that udev does not make is refused: %s', async (_, fstab, partitions) => {
    await expect(plan(fstab, partitions)).rejects.toThrow(/but the system mounts \/dev\/disk\/by-/);
  });

  test('a random UUID is never found', async () => {
    const fstab = '/dev/disk/by-uuid/f222513b-ded1-49fa-b591-20ce86a2fe7f / ext4';
    await plan(fstab, [ESP, ROOT]);
    await expect(plan(fstab, [ESP, ROOT], { deterministic: false })).rejects.toThrow(/filesystemUuid: is random/);
  });

  test('a subvolume that does not exist is never found', async () => {
    const btrfs = { ...ROOT, filesystem: 'btrfs' } as const;
    await plan('LABEL=nixos / btrfs compress=zstd', [ESP, btrfs]);
    await expect(plan('LABEL=nixos / btrfs compress=zstd,subvol=@', [ESP, btrfs])).rejects.toThrow(
      /partitions\[1\]\.subvolumes: the system mounts subvol=@ at \/, but none of them has this mountPoint/,
    );
  });

  test('docs/layouts.md: subvolumes of a btrfs', async () => {
    const block = (beginning: string): string =>
      codeBlocks().find(({ text }) => text.startsWith(beginning))?.text ?? '';
    const module = join(await tempDirectory(), 'module.nix');
    await writeFile(module, block('{\n  fileSystems."/" ='));
    const { fileSystems } = (await evaluate(`import ${JSON.stringify(module)}`)) as {
      fileSystems: Record<string, { device: string; fsType: string; options: string[] }>;
    };
    const fstab = Object.entries(fileSystems).map(
      ([at, { device, fsType, options: given }]) => `${device} ${at} ${fsType} ${given.join(',')} 0 0\n`,
    );
    const btrfs = JSON.parse(block('{ "subvolumes":')) as Partitions[number];
    await plan(fstab.join(''), [ESP, btrfs]);
    const [root] = fstab;
    await expect(plan(root ?? '', [ESP, btrfs])).rejects.toThrow(/mounts nothing at \/home/);
  });

  test('subvolumes are those that the system mounts', async () => {
    const subvolumes = [{ path: '@', mountPoint: '/' }, { path: '/@home', mountPoint: '/home' }, { path: 'snapshots' }];
    const btrfs = { subvolumes };
    const root = 'LABEL=nixos / btrfs compress=zstd,subvol=old,subvol=/@';
    const home = 'LABEL=nixos /home btrfs subvol=@home';
    await plan(`${root}\n${home}`, [ESP, btrfs]);
    for (const [fstab, message] of [
      [root, /subvolumes\[1\]\.mountPoint: the system mounts nothing at \/home/],
      [`${root}\nLABEL=nixos /home btrfs`, /subvolumes\[1\]\.path: is "@home", but .* mounts the whole filesystem at/],
      [`${root}\nLABEL=nixos /home btrfs subvolid=257`, /subvolumes\[1\]\.path: is "@home", but .* subvolid=257/],
      [`${root}\nLABEL=other /home btrfs subvol=@home`, /subvolumes\[1\]\.mountPoint: .*by-label\/other, another/],
      [`${root}\n${home}\nLABEL=nixos /nix btrfs subvol=@nix`, /subvolumes: the system mounts subvol=@nix at \/nix/],
      ['LABEL=nixos / btrfs subvol=root', /subvolumes\[0\]\.path: is "@", but the system mounts subvol=root at \//],
      ['LABEL=nixos / ext4', /filesystem: is "btrfs", but the system mounts "ext4" at \//],
    ] as const)
      await expect(plan(fstab, [ESP, btrfs])).rejects.toThrow(message);
    await expect(plan('', [{ type: 'bios-boot' }, btrfs], { bootLoader: 'grub' })).rejects.toThrow(
      /needs a partition with mountPoint "\/boot" .* because the root has subvolumes/,
    );
  });

  test('GRUB needs its kernels on a filesystem that it knows', async () => {
    const grub = { bootLoader: 'grub' } as const;
    const bios = { type: 'bios-boot' };
    await plan('', [bios, ROOT], grub);
    await plan('', [bios, { mountPoint: '/nix' }, { filesystem: 'vfat', mountPoint: '/boot' }, ROOT], grub);
    await expect(plan('', [bios, { mountPoint: '/nix' }, ROOT], grub)).rejects.toThrow(
      /needs a partition with mountPoint "\/boot"/,
    );
    await expect(plan('', [bios, { mountPoint: '/boot' }, ROOT], grub)).rejects.toThrow(
      /partitions\[1\]\.filesystem: "ext4": with bootLoaderFrom "bootspec"/,
    );
  });
});
