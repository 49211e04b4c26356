import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { packageFile } from '../../../../harness/cache-directory.ts';
import { type BuildImageOptions, buildImage } from '../../../../lib/build/build-image.ts';
import { inspectImage } from '../../../../lib/inspect/inspect-image.ts';
import { localExecutor } from '../../../../lib/run/local-executor.ts';
import { measureClosure } from '../../../../lib/steps/measure-closure.ts';
import { GIB, MIB } from '../../../../lib/units.ts';
import { type DemoSystems, prepareDemo } from '../../../../vm-images/demo.ts';
import { run } from '../../../helpers/run.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

// How large an image gets, and what makes it large.

let demo: DemoSystems;
beforeAll(async () => {
  demo = await prepareDemo();
});

const toplevel = (): string => demo.systems['tiny-grub-bios'] ?? '';
const options = (outDir: string, more: Partial<BuildImageOptions> = {}): BuildImageOptions => ({
  ...{ outDir, toplevel: toplevel(), store: demo.store, additionalSpace: '32M', bootLoaderFrom: 'bootspec' },
  ...more,
});

test.each([
  ['100M', 100 * MIB],
  ['1G', GIB],
  [3 * MIB, 3 * MIB],
] as const)('the disk is rounded up to a multiple of %s', async (sizeMultiple, bytes) => {
  const outDir = await tempDirectory();
  const plain = await buildImage(options(outDir));
  const { virtualBytes, image } = await buildImage(options(outDir, { sizeMultiple }));
  expect(virtualBytes).toBe(Math.ceil(plain.virtualBytes / bytes) * bytes);
  expect((await stat(image)).size).toBe(virtualBytes);
});

test('a disk larger than maxSize is refused with the largest store paths, and one of exactly that size is made', async () => {
  const outDir = join(await tempDirectory(), 'out');
  const { virtualBytes } = await buildImage(options(outDir));
  const error = await buildImage(options(join(outDir, 'small'), { maxSize: virtualBytes - MIB })).catch((one) => one);
  expect(error.message).toMatch(/maxSize: is \d+ MiB, but the disk needs \d+ MiB, 1048576 bytes more/);
  const lines = /largest store paths are:\n([\s\S]*)/.exec(error.hint)?.[1]?.split('\n') ?? [];
  expect(lines.length).toBe(10);
  expect(lines[0]).toMatch(/^ {2}[\d.]+ MiB {2}\/nix\/store\/\S+-linux$/);
  expect(await readdir(join(outDir, 'small'))).toEqual([]);
  expect((await buildImage(options(outDir, { maxSize: virtualBytes }))).virtualBytes).toBe(virtualBytes);
});

test.each([
  [{ diskSize: '2G', maxSize: '1G' }, /diskSize: 2 GiB is more than maxSize, 1 GiB/],
  [{ diskSize: '1500M', sizeMultiple: '1G' }, /diskSize: 1.5 GiB is not a multiple of sizeMultiple, 1 GiB/],
  [{ sizeMultiple: '1000000' }, /sizeMultiple: must be a multiple of 1M/],
  [{ sizeMultiple: 0 }, /sizeMultiple: must be a multiple of 1M/],
] as const)('sizes that contradict each other are refused: %j', async (sizes, message) => {
  await expect(buildImage(options(await tempDirectory(), sizes))).rejects.toThrow(message);
});

test('a closure is measured as its files take blocks, the largest path first', async () => {
  const size = await measureClosure({ toplevel: toplevel(), store: demo.store });
  const paths = size.storePaths.map(({ path }) => path);
  const closure = await run(['nix-store', '--store', demo.store, '--query', '--requisites', toplevel()], {
    env: { NIX_CONFIG: 'build-users-group =\n' },
  });
  expect([...paths].sort()).toEqual(closure.trim().split('\n').sort());
  const sizes = size.storePaths.map(({ sizeBytes }) => sizeBytes);
  expect(sizes).toEqual(sizes.toSorted((a, b) => b - a));
  expect(size.sizeBytes).toBe(sizes.reduce((sum, one) => sum + one, 0));
  for (const { path, sizeBytes, entries } of size.storePaths) {
    const listed = await run(['find', join(demo.store, path), '-not', '-type', 'd', '-printf', '%s\n']);
    const expected = listed.split('\n').reduce((sum, one) => sum + Math.ceil(Number(one) / 4096) * 4096, 0);
    expect(sizeBytes, path).toBe(expected);
    expect(entries).toBe((await run(['find', join(demo.store, path)])).trim().split('\n').length);
  }
});

test('nixos-disk-image size: a table, JSON, and what is not in the store', async () => {
  const size = (...args: string[]) =>
    localExecutor.run([process.execPath, packageFile('dist/cli/main.js'), 'size', '--store', demo.store, ...args]);
  const { stdout } = await size(toplevel(), '--top', '2');
  const [sum, empty, first, second, others, ...rest] = stdout.toString('utf8').trimEnd().split('\n');
  expect(sum).toMatch(/^[\d.]+ MiB in \d+ store paths, \d+ files, directories and links$/);
  expect([empty, ...rest]).toEqual(['']);
  for (const line of [first, second]) expect(line).toMatch(/^ *[\d.]+ MiB {2}\/nix\/store\//);
  expect(others).toMatch(/ {2}\d+ others$/);
  const json = await size(toplevel(), '--json');
  expect(JSON.parse(json.stdout.toString('utf8'))).toEqual(
    await measureClosure({ toplevel: toplevel(), store: demo.store }),
  );
  const missing = await size('/nix/store/0123456789abcdfghijklmnpqrsvwxyz-missing');
  expect(missing.exitCode).toBe(2);
  expect(missing.stderr.toString('utf8')).toContain('does not exist in the store');
});

describe('minimize', () => {
  test.each([
    ['legacy', 'tiny-grub-bios', {}],
    ['legacy+gpt', 'tiny-grub-bios', {}],
    ['hybrid', 'tiny-grub-hybrid', {}],
    ['none', 'tiny-grub-bios', { installBootLoader: false, bootLoaderFrom: undefined }],
    ['efi', 'tiny-systemd-boot', { reproducible: true }],
  ] as const)('the smallest root in the layout %s', async (partitionTableType, system, more) => {
    const outDir = await tempDirectory();
    const spec = options(outDir, {
      ...{ partitionTableType, toplevel: demo.systems[system] ?? '', bootSize: '140M', additionalSpace: undefined },
      ...{ minimize: true, ...more },
    });
    const { filesystem, image, size, virtualBytes } = await buildImage(spec);
    const { freeBytes = 0, freeInodes = 0 } = filesystem;
    // 32 MiB for the first boot; partitions end at whole MiB, or where parted puts the end in a GPT.
    expect(freeBytes).toBeGreaterThanOrEqual(32 * MIB);
    expect(freeBytes).toBeLessThan(34 * MIB);
    expect(freeInodes).toBeGreaterThan(500);
    expect((await inspectImage({ image, deep: true })).findings).toEqual([]);
    expect(size?.diskBytes).toBe(virtualBytes);
  });

  test('additionalSpace is left, and sizeMultiple and maxSize are kept', async () => {
    const outDir = await tempDirectory();
    const least = await buildImage(options(outDir, { minimize: true, additionalSpace: 0 }));
    expect(least.filesystem.freeBytes).toBeLessThan(1.1 * MIB);
    const more = await buildImage(options(outDir, { minimize: true, additionalSpace: '50M' }));
    expect(more.filesystem.freeBytes).toBeGreaterThan(50 * MIB);
    expect(more.filesystem.freeBytes).toBeLessThan(52 * MIB);
    const sized = await buildImage(options(outDir, { minimize: true, additionalSpace: 0, sizeMultiple: '64M' }));
    expect(sized.virtualBytes).toBe(Math.ceil(least.virtualBytes / (64 * MIB)) * 64 * MIB);
    const { virtualBytes } = least;
    await buildImage(options(outDir, { minimize: true, additionalSpace: 0, maxSize: virtualBytes }));
    await expect(
      buildImage(options(outDir, { minimize: true, additionalSpace: 0, maxSize: virtualBytes - 1 })),
    ).rejects.toThrow(/maxSize: is [\d.]+ MiB, but the disk needs [\d.]+ MiB, 1 bytes more/);
  });

  test.each([
    [{ diskSize: '2G' }, /minimize: contradicts diskSize: /],
    [{ fsType: 'btrfs' }, /minimize: contradicts fsType "btrfs": it is supported only for ext4/],
    [{ populateRootWith: 'cptofs' }, /minimize: contradicts populateRootWith "cptofs": /],
    [{ bootLoaderFrom: undefined }, /minimize: contradicts bootLoaderFrom "switch-to-configuration": /],
  ] as const)('what it contradicts is refused: %j', async (more, message) => {
    const outDir = await tempDirectory();
    await expect(buildImage(options(outDir, { minimize: true, ...more }))).rejects.toThrow(message);
    expect(await readdir(outDir)).toEqual([]);
  });
});
