import { mkdtemp, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { type ContainerExecutor, containerExecutor } from '../../harness/builder/container-executor.ts';
import { cacheDirectory, packageFile } from '../../harness/cache-directory.ts';
import { type BuiltImage, buildImage } from '../../lib/build/build-image.ts';
import { PARTITION_TABLE_TYPES, type PartitionTableType } from '../../lib/formats/layouts.ts';
import { removeTree } from '../../lib/host-files/private-output.ts';
import { inspectImage } from '../../lib/inspect/inspect-image.ts';
import { prepareDemo } from '../../vm-images/demo.ts';
import { prepareToolbox, TOOLBOXES, type Toolbox } from '../../vm-images/toolbox.ts';
import { SYSTEM_OF_LAYOUT } from '../helpers/demo-image.ts';

const VERSIONS: Readonly<Record<Toolbox, { readonly e2fsprogs: string; readonly qemu: string }>> = {
  'debian-12': { e2fsprogs: '1.47.0', qemu: '7.2' },
  'debian-13': { e2fsprogs: '1.47.2', qemu: '10.0' },
};

const containers = new Map<Toolbox, ContainerExecutor>();

beforeAll(async () => {
  for (const toolbox of Object.keys(TOOLBOXES) as Toolbox[])
    containers.set(
      toolbox,
      await containerExecutor({
        image: await prepareToolbox(toolbox, ['systemd-boot-efi', 'lz4']),
        // This Node, the project, and the demo systems.
        directories: [process.execPath, packageFile('.'), cacheDirectory()],
        namespaces: true,
      }),
    );
});
afterAll(async () => {
  for (const container of containers.values()) await container.stop();
});

async function runIn(toolbox: Toolbox, argv: readonly string[]): Promise<{ stdout: string; stderr: string }> {
  const container = containers.get(toolbox);
  const result = await container?.run(argv, {
    cwd: packageFile('.'),
    env: { XDG_CACHE_HOME: join(cacheDirectory(), '..'), CI: process.env.CI ?? '' },
  });
  const [stdout, stderr] = [result?.stdout.toString('utf8') ?? '', result?.stderr.toString('utf8') ?? ''];
  expect(result?.exitCode, `${argv.join(' ')}: ${stdout.slice(-4000)}${stderr.slice(-4000)}`).toBe(0);
  return { stdout, stderr };
}

async function build(toolbox: Toolbox, partitionTableType: PartitionTableType): Promise<BuiltImage> {
  const { store, systems } = await prepareDemo();
  const outDir = await mkdtemp(join(tmpdir(), 'ndi-toolchain-'));
  onTestFinished(() => removeTree(outDir));
  const specification = {
    toplevel: systems[SYSTEM_OF_LAYOUT[partitionTableType]] ?? '',
    store,
    additionalSpace: '32M',
    bootSize: '132M',
    reproducible: true,
    bootLoaderFrom: 'bootspec' as const,
    ...(partitionTableType === 'none' ? {} : { bootLoaderTimeout: 0 }),
  };
  return buildImage({ ...specification, partitionTableType, outDir }, { executor: containers.get(toolbox) });
}

describe.each(Object.keys(TOOLBOXES) as Toolbox[])('%s', (toolbox) => {
  test('has the expected versions', async () => {
    const { stderr } = await runIn(toolbox, ['mkfs.ext4', '-V']);
    expect(stderr).toContain(`mke2fs ${VERSIONS[toolbox].e2fsprogs} `);
    const { stdout } = await runIn(toolbox, ['qemu-system-x86_64', '--version']);
    expect(stdout).toContain(`version ${VERSIONS[toolbox].qemu}.`);
  });

  test('the step tests pass with its tools', async () => {
    const report = join(await mkdtemp(join(tmpdir(), 'ndi-toolchain-')), 'report.json');
    onTestFinished(() => removeTree(join(report, '..')));
    await runIn(toolbox, [
      ...[
        // The run on the host tries many more.
        ...['env', 'NIXOS_DISK_IMAGE_CORRUPTIONS=40'],
        process.execPath,
        'node_modules/vitest/vitest.mjs',
        'run',
        '--project',
        'tool',
        ...['test/tool/lib', 'test/tool/nix'],
        '--exclude',
        '**/programs-die.test.ts',
      ],
      ...['--reporter=default', '--reporter=json', `--outputFile.json=${report}`],
    ]);
    const { numPassedTests, numPendingTests } = JSON.parse(await readFile(report, 'utf8'));
    expect(numPassedTests).toBeGreaterThan(100);
    expect(numPendingTests).toBe(0);
  });

  test('an image built with its tools boots in its QEMU in BIOS and EFI', async () => {
    const { image } = await build(toolbox, 'hybrid');
    const { stdout } = await runIn(toolbox, [process.execPath, 'dist/cli/main.js', 'verify', image, '--json']);
    const reports = JSON.parse(stdout) as { firmware: string; ok: boolean }[];
    expect(reports.map(({ firmware, ok }) => [firmware, ok])).toEqual([
      ['bios', true],
      ['efi', true],
    ]);
  });
});

test.each(PARTITION_TABLE_TYPES)('layout, sizes and filesystems are the same with each toolchain: %s', async (type) => {
  const facts = [];
  const taken: [freeBytes: number, usedInodes: number][] = [];
  for (const toolbox of Object.keys(TOOLBOXES) as Toolbox[]) {
    const built = await build(toolbox, type);
    const { image: _, ...found } = await inspectImage({ image: built.image });
    // The database of another Nix and the files of another GRUB have different sizes.
    const text = JSON.stringify(found, (key, value) => (key === 'freeBytes' || key === 'bytes' ? undefined : value));
    facts.push(JSON.parse(text));
    // How many inodes there are depends on the free bytes, and is rounded.
    const { freeBytes = 0, inodeCount = 0, freeInodes = 0 } = built.filesystem;
    taken.push([freeBytes, inodeCount - freeInodes]);
  }
  expect(facts[0]).toEqual(facts[1]);
  const [[bytes = 0, inodes = 0] = [], [otherBytes = 0, otherInodes = 0] = []] = taken;
  expect(Math.abs(bytes - otherBytes)).toBeLessThan(1024 * 1024);
  // The number of modules differs between versions of GRUB.
  expect(Math.abs(inodes - otherInodes)).toBeLessThan(8);
});
