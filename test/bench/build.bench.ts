import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { expect, onTestFinished, test } from 'vitest';
import { startBuilderVm } from '../../harness/builder/builder-vm.ts';
import { packageFile } from '../../harness/cache-directory.ts';
import { startMachine } from '../../harness/machine/start-machine.ts';
import { buildImage } from '../../lib/build/build-image.ts';
import { removeTree } from '../../lib/host-files/private-output.ts';
import { formatRegistrations, queryRegistrations } from '../../lib/nix/registration.ts';
import { storeUri } from '../../lib/nix/store.ts';
import { localExecutor } from '../../lib/run/local-executor.ts';
import { runStep } from '../../lib/run/step.ts';
import { computeDiskSize } from '../../lib/steps/compute-disk-size.ts';
import { createDisk } from '../../lib/steps/create-disk.ts';
import { installSystem } from '../../lib/steps/install-system.ts';
import { makeFilesystem, makeFilesystemArgs } from '../../lib/steps/make-filesystem.ts';
import { fixIdentifiersArgs, partitionDisk, partitionDiskArgs } from '../../lib/steps/partition-disk.ts';
import { formatBytes, MIB } from '../../lib/units.ts';
import { prepareDemo } from '../../vm-images/demo.ts';
import { MEASURE, median, report, timed } from './table.ts';

// Machines differ and are shared, so only ratios within one run count. Nothing here fails for being slow; the table has the
// results.

async function directory(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'ndi-bench-'));
  onTestFinished(() => removeTree(path));
  return path;
}

const NIX_CONFIG = 'substituters =\nbuild-users-group =\nexperimental-features = nix-command\n';
const quote = (words: readonly string[]): string => words.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(' ');

test('the host part of a build, compared with the same commands in a shell script', async () => {
  const { store, systems } = await prepareDemo();
  const toplevel = systems['demo-grub-hybrid'] ?? '';
  const layout = { partitionTableType: 'hybrid', bootSize: '128M' } as const;
  const work = await directory();
  const registration = join(work, 'registration');
  let next = 0;
  let facts: { diskBytes: number; inodeCount: number; offsetBytes: number; sizeBytes: number } | undefined;

  let stage: { root: string; storePaths: readonly string[] } | undefined;
  const ours = async (): Promise<void> => {
    const at = join(work, `${next++}`);
    await mkdir(at);
    const root = join(at, 'root');
    const image = join(at, 'disk.img');
    const { storePaths } = await installSystem({ stagedRoot: root, toplevel, store, copyClosure: false });
    const closure = { store, storePaths };
    const size = await computeDiskSize({ stagedRoot: root, closure, ...layout, additionalSpace: '64M' });
    await createDisk({ image, sizeBytes: size.diskBytes });
    const disk = await partitionDisk({ image, ...layout });
    await makeFilesystem({ image, partition: disk.root, inodeCount: size.inodeCount, populateFrom: root, closure });
    stage = { root, storePaths };
    facts = {
      diskBytes: size.diskBytes,
      inodeCount: size.inodeCount,
      offsetBytes: disk.root.offsetBytes,
      sizeBytes: disk.root.sizeBytes,
    };
  };
  const shell = async (): Promise<void> => {
    if (facts === undefined) throw new Error('ours runs first');
    const at = join(work, `${next++}`);
    await mkdir(at);
    const from = stage?.root ?? '';
    const sources = stage?.storePaths.map((storePath) => join(store, storePath)) ?? [];
    const partition = { offsetBytes: facts.offsetBytes, sizeBytes: facts.sizeBytes };
    const mkfs = makeFilesystemArgs({ image: 'disk.img', partition, inodeCount: facts.inodeCount });
    const commands = [
      ['nix-store', '--store', `local?root=${store}`, '--query', '--requisites', toplevel],
      ['nix-store', '--store', `local?root=${store}`, '--dump-db', ...(stage?.storePaths ?? [])],
      ['sh', '-c', `nix-store --store "local?root=$PWD/root" --load-db < ${quote([registration])}`],
      ['cp', '-a', from, 'tree'],
      ['cp', '-a', ...sources, 'tree/nix/store'],
      ['du', '-s', 'tree'],
      ['truncate', '-s', `${facts.diskBytes}`, 'disk.img'],
      partitionDiskArgs('./disk.img', 'hybrid', 128 * MIB),
      ...fixIdentifiersArgs('./disk.img', 'hybrid', 'F222513B-DED1-49FA-B591-20CE86A2FE7F'),
      ['sfdisk', '--json', './disk.img'],
      [...mkfs.slice(0, -2), '-d', 'tree', ...mkfs.slice(-2)],
      ['dumpe2fs', '-h', `./disk.img?offset=${facts.offsetBytes}`],
    ];
    const script = commands.map((command) => `${quote(command)} >/dev/null 2>&1 || exit 1`).join('\n');
    const result = await localExecutor.run(['sh', '-c', script], { cwd: at, env: { NIX_CONFIG } });
    expect(result.exitCode).toBe(0);
  };
  await ours();
  await runStep('bench', undefined, undefined, async (runner) => {
    await writeFile(registration, formatRegistrations(await queryRegistrations(runner, store, [toplevel])));
  });
  await shell();
  const ratios: number[] = [];
  for (let round = 0; round < 5; round += 1) {
    const [first, second] = round % 2 === 0 ? [ours, shell] : [shell, ours];
    const firstMs = await timed(first);
    const secondMs = await timed(second);
    ratios.push(round % 2 === 0 ? firstMs / secondMs : secondMs / firstMs);
  }
  report('host part of a build ÷ the same commands in shell (5 rounds)', median(ratios).toFixed(2), '≤ 1.10');
});

test('the builder VM', async () => {
  const image = join(await directory(), 'disk.img');
  await createDisk({ image, sizeBytes: 16 * MIB });
  const ready: number[] = [];
  const trivial: number[] = [];
  for (let round = 0; round < 5; round += 1) {
    const vm = await startBuilderVm({ image });
    const first = await timed(() => vm.run(['true']));
    ready.push(vm.readyMs + first);
    for (let count = 0; count < 20; count += 1) trivial.push(await timed(() => vm.run(['true'])));
    await vm.stop();
  }
  report(
    'builder VM: QEMU started to first command done (median of 5)',
    `${(median(ready) / 1000).toFixed(2)} s`,
    '≤ 3.5 s, idle, TCG',
  );
  report('builder VM: each further trivial command (median of 100)', `${median(trivial).toFixed(1)} ms`, '≤ 40 ms');
});

test('a match on the console', async () => {
  const image = join(await directory(), 'disk.img');
  await createDisk({ image, sizeBytes: 16 * MIB });
  // From the last received byte to the return of the wait.
  const delays: number[] = [];
  for (let round = 0; round < 5; round += 1) {
    await using machine = await startMachine({ image, firmware: 'bios' });
    await machine.waitForConsoleText('SeaBIOS');
    delays.push(performance.now() - machine.console.lastByteAt);
  }
  report('console: bytes arrived to match returned (worst of 5)', `${Math.max(...delays, 0).toFixed(1)} ms`, '≤ 20 ms');
});

test('memory of node', async () => {
  const { store, systems } = await prepareDemo();
  const out = await directory();
  const measure = join(out, 'measure.mjs');
  await writeFile(measure, MEASURE);
  for (const [what, more] of [
    ['demo system, hybrid', ['--additional-space', '64M']],
    ['demo system, 100 GiB disk, qcow2', ['--disk-size', '102400', '--format', 'qcow2']],
  ] as const) {
    const built = await execa(
      process.execPath,
      [
        '--import',
        measure,
        packageFile('dist/cli/main.js'),
        'build',
        '--toplevel',
        systems['demo-grub-hybrid'] ?? '',
        '--store',
        store,
        '--out',
        out,
        '--partition-table-type',
        'hybrid',
        ...more,
      ],
      { reject: false },
    );
    expect(built.exitCode, built.stderr).toBe(0);
    report(
      `memory of node, build: ${what}`,
      formatBytes(Number(/VmHWM (\d+)/.exec(built.stderr)?.[1]) * 1024),
      '≤ 150 MiB',
    );
  }
});

/** A directory with about 1 GB in 20,000 files, with sizes distributed as in a real store: most are small, few are large. */
async function largeTree(directory: string): Promise<void> {
  const block = randomBytes(4 * MIB);
  let seed = 1;
  const random = (): number => {
    seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
    return seed / 2 ** 31;
  };
  for (let index = 0; index < 20_000; index += 1) {
    const at = join(directory, `${Math.floor(index / 100)}/${Math.floor(index / 10) % 10}`);
    if (index % 10 === 0) await mkdir(at, { recursive: true });
    const bytes = Math.min(3_000_000, Math.floor(4600 / (1 - random()) ** (1 / 0.85)));
    const start = Math.floor(random() * MIB);
    await writeFile(join(at, `${index}`), block.subarray(start, start + bytes));
  }
}

async function bareMke2fs(tree: string, image: string, bytes: number, inodes: number): Promise<void> {
  const arguments_ = [
    '-q',
    '-F',
    '-t',
    'ext4',
    '-b',
    '4096',
    '-I',
    '256',
    '-N',
    `${inodes}`,
    '-E',
    'lazy_journal_init=1',
    '-d',
    tree,
  ];
  const result = await localExecutor.run(['mke2fs', ...arguments_, image, `${Math.floor(bytes / 1024)}K`]);
  expect(result.exitCode, result.stderr.toString('utf8')).toBe(0);
}

/** A private store with a demo system and a path of about 1 GB. */
async function storeWith(
  work: string,
  system: string,
): Promise<{ readonly toplevel: string; readonly store: string; readonly large: string }> {
  const demo = await prepareDemo();
  const store = join(work, 'store');
  const toplevel = demo.systems[system] ?? '';
  const nixStore = async (...argv: string[]): Promise<string> => {
    const result = await localExecutor.run(argv, { env: { NIX_CONFIG } });
    expect(result.exitCode, result.stderr.toString('utf8')).toBe(0);
    return result.stdout.toString('utf8').trim();
  };
  await nixStore('nix', 'copy', '--no-check-sigs', '--from', storeUri(demo.store), '--to', storeUri(store), toplevel);
  await mkdir(join(work, 'large'));
  await largeTree(join(work, 'large'));
  const large = await nixStore('nix-store', '--store', storeUri(store), '--add', join(work, 'large'));
  await removeTree(join(work, 'large'));
  return { toplevel, store, large };
}

test('1 GB in 20,000 files: a complete image without a VM, compared with mke2fs -d alone and with the VM way', async () => {
  const work = await directory();
  const { toplevel, store, large } = await storeWith(work, 'tiny-grub-bios');
  const specification = {
    toplevel,
    store,
    additionalPaths: [large],
    additionalSpace: '64M',
    outDir: join(work, 'out'),
  };
  const whole = async (): Promise<void> => {
    await buildImage({ ...specification, bootLoaderFrom: 'bootspec' });
  };
  const inVm = async (): Promise<void> => {
    await buildImage(specification, { startBuilder: startBuilderVm });
  };
  const tree = join(work, 'tree');
  await installSystem({ stagedRoot: tree, toplevel, store, additionalPaths: [large] });
  const size = await computeDiskSize({ stagedRoot: tree, additionalSpace: '64M' });
  const bare = async (): Promise<void> => {
    const image = join(work, 'bare.img');
    await rm(image, { force: true });
    await bareMke2fs(tree, image, size.filesystemBytes, size.inodeCount);
  };
  await whole();
  await bare();
  const ratios: number[] = [];
  const vmRatios: number[] = [];
  for (let round = 0; round < 5; round += 1) {
    const wholeMs = await timed(whole);
    ratios.push(wholeMs / (await timed(bare)));
    if (round < 2) vmRatios.push((await timed(inVm)) / wholeMs);
  }
  report('whole image, no VM ÷ mke2fs -d of the same tree (5 rounds)', median(ratios).toFixed(2), '≤ 1.25');
  report('whole image: VM way ÷ no VM (2 rounds)', median(vmRatios).toFixed(1), '≥ 3');

  const measure = join(work, 'measure.mjs');
  await writeFile(measure, MEASURE);
  const specificationFile = join(work, 'image.json');
  await writeFile(
    specificationFile,
    JSON.stringify({ ...specification, outDir: undefined, bootLoaderFrom: 'bootspec' }),
  );
  const built = await execa(
    process.execPath,
    ['--import', measure, packageFile('dist/cli/main.js'), 'build', specificationFile, '--out', join(work, 'out')],
    { reject: false },
  );
  expect(built.exitCode, built.stderr).toBe(0);
  report(
    'memory of node, 1 GB in 20,000 files',
    formatBytes(Number(/VmHWM (\d+)/.exec(built.stderr)?.[1]) * 1024),
    '≤ 120 MiB',
  );
});

test('an encrypted root of 1 GB, compared with the same build without encryption', async () => {
  const work = await directory();
  const { toplevel, store, large } = await storeWith(work, 'tiny-systemd-boot-luks');
  const passphraseFile = join(work, 'passphrase');
  await writeFile(passphraseFile, 'correct horse');
  const specification = {
    ...{ toplevel, store, additionalPaths: [large], additionalSpace: '64M', outDir: join(work, 'out') },
    bootLoaderFrom: 'bootspec',
    partitionTableType: 'efi',
  } as const;
  const plain = () => buildImage(specification);
  const encrypted = () =>
    buildImage({ ...specification, encrypt: { passphraseFile, keyDerivation: { type: 'pbkdf2', iterations: 1000 } } });
  await plain();
  const ratios: number[] = [];
  for (let round = 0; round < 5; round += 1) {
    const [a, b] = [await timed(plain), await timed(encrypted)];
    ratios.push(b / a);
  }
  report('1 GB: encrypted root ÷ the same build without encryption', median(ratios).toFixed(2), '≤ 1.5');
});

const ONE_DIRECTORY = '70,000 directories in one';
const MILLION = '1,000,000 files';
const SPARSE = 'one sparse file of 20 GiB';
test('twelve partitions of 1 GB, compared with the layout efi', async () => {
  const work = await directory();
  const { toplevel, store, large } = await storeWith(work, 'tiny-systemd-boot');
  const specification = {
    ...{ outDir: join(work, 'out'), toplevel, store, additionalPaths: [large], bootLoaderFrom: 'bootspec' as const },
    additionalSpace: '64M',
  };
  const boot = { type: 'esp', size: '140M', mountPoint: '/boot' };
  const directories = ['home', 'srv', 'var', 'opt', 'mnt', 'root', 'media', 'data', 'work'].map((name) => ({
    mountPoint: `/${name}`,
    size: '40M',
  }));
  const partitions = [boot, { type: 'swap', size: '64M' }, ...directories, { mountPoint: '/' }];
  const plain = () => buildImage({ ...specification, partitionTableType: 'efi', bootSize: '140M' });
  const divided = () => buildImage({ ...specification, partitions });
  await plain();
  const ratios: number[] = [];
  for (let round = 0; round < 5; round += 1) ratios.push((await timed(divided)) / (await timed(plain)));
  report('1 GB: twelve partitions ÷ the layout efi', median(ratios).toFixed(2), '≤ 1.2');
});

/** Measured in seconds: mke2fs searches the whole directory for every entry, and a sparse file takes too little time for a ratio. */
const SECONDS: Readonly<Record<string, string>> = { [ONE_DIRECTORY]: '≤ 10 s', [SPARSE]: '≤ 5 s' };

/** The most memory that Node may need. */
const MEMORY: Readonly<Record<string, string>> = {
  '300,000 files': '≤ 150 MiB',
  [ONE_DIRECTORY]: '≤ 150 MiB',
  [MILLION]: '≤ 200 MiB',
};

test.each([
  [
    '100,000 tiny files',
    async (root: string) => {
      for (let directoryNumber = 0; directoryNumber < 1000; directoryNumber += 1) {
        await mkdir(join(root, `${directoryNumber}`), { recursive: true });
        for (let file = 0; file < 100; file += 1) await writeFile(join(root, `${directoryNumber}/${file}`), 'x');
      }
    },
  ],
  [
    '300,000 files',
    async (root: string) => {
      const content = randomBytes(64 * 1024);
      for (let directoryNumber = 0; directoryNumber < 3000; directoryNumber += 1) {
        await mkdir(join(root, `${directoryNumber}`), { recursive: true });
        for (let file = 0; file < 100; file += 1)
          await writeFile(join(root, `${directoryNumber}/${file}`), content.subarray(0, (file * 97) % 9000));
      }
    },
  ],
  [
    MILLION,
    async (root: string) => {
      for (let directoryNumber = 0; directoryNumber < 2000; directoryNumber += 1) {
        await mkdir(join(root, `${directoryNumber}`), { recursive: true });
        for (let file = 0; file < 500; file += 1) await writeFile(join(root, `${directoryNumber}/${file}`), 'x');
      }
    },
  ],
  [
    ONE_DIRECTORY,
    async (root: string) => {
      for (let index = 0; index < 70_000; index += 1) await mkdir(join(root, `${index}`), { recursive: true });
    },
  ],
  [
    SPARSE,
    async (root: string) => {
      await mkdir(root);
      await using handle = await open(join(root, 'sparse'), 'w');
      await handle.truncate(20 * 1024 ** 3);
      for (let at = 0; at < 20 * 1024 ** 3; at += 1024 ** 3) await handle.write('data', at);
    },
  ],
] as const)('%s: size, disk and filesystem, compared with mke2fs -d alone', async (what, make) => {
  const work = await directory();
  const root = join(work, 'root');
  await make(root);
  const usage = await computeDiskSize({ stagedRoot: root, additionalSpace: 0 });
  const ours = async (): Promise<void> => {
    const image = join(work, 'ours.img');
    await rm(image, { force: true });
    const size = await computeDiskSize({ stagedRoot: root, additionalSpace: '16M' });
    await createDisk({ image, sizeBytes: size.diskBytes });
    const disk = await partitionDisk({ image });
    await makeFilesystem({ image, partition: disk.root, inodeCount: size.inodeCount, populateFrom: root });
  };
  const bare = async (): Promise<void> => {
    const image = join(work, 'bare.img');
    await rm(image, { force: true });
    await bareMke2fs(root, image, usage.filesystemBytes + 16 * MIB, usage.inodeCount);
  };
  const ratios: number[] = [];
  let seconds = 0;
  // Each takes minutes.
  const rounds = what === MILLION ? 1 : 3;
  for (let round = 0; round < rounds; round += 1) {
    const oursMs = await timed(ours);
    seconds = oursMs / 1000;
    if (SECONDS[what] === undefined) ratios.push(oursMs / (await timed(bare)));
  }
  if (SECONDS[what] !== undefined)
    report(`${what}: last of ${rounds} rounds`, `${seconds.toFixed(1)} s`, SECONDS[what]);
  else
    report(
      `${what}: ÷ mke2fs -d (rounds: ${rounds}); last took ${seconds.toFixed(1)} s`,
      median(ratios).toFixed(2),
      '≤ 0.90',
    );

  const measure = join(work, 'measure.mjs');
  await writeFile(measure, MEASURE);
  const script = join(work, 'steps.mjs');
  await writeFile(script, STEPS);
  const argv = ['--import', measure, script, packageFile('dist/lib/index.js'), root, join(work, 'ours.img')];
  const { stderr, exitCode } = await execa(process.execPath, argv, { reject: false });
  expect(exitCode, stderr).toBe(0);
  report(
    `memory of node, ${what}`,
    formatBytes(Number(/VmHWM (\d+)/.exec(stderr)?.[1]) * 1024),
    MEMORY[what] ?? '≤ 120 MiB',
  );
});

/** The same steps in a separate process: the package, a tree, an image. */
const STEPS = `
const [library, root, image] = process.argv.slice(2);
const steps = await import(library);
const size = await steps.computeDiskSize({ stagedRoot: root, additionalSpace: '16M' });
const { rm } = await import('node:fs/promises');
await rm(image, { force: true });
await steps.createDisk({ image, sizeBytes: size.diskBytes });
const disk = await steps.partitionDisk({ image });
await steps.makeFilesystem({ image, partition: disk.root, inodeCount: size.inodeCount, populateFrom: root });
`;
