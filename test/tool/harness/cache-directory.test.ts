import { mkdir, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { builderInitrd } from '../../../harness/builder/builder-initrd.ts';
import { distributionKernel } from '../../../harness/builder/builder-kernel.ts';
import { cachedDirectory } from '../../../harness/cache-directory.ts';
import { tempDirectory } from '../../helpers/temp-directory.ts';

let cache: string;
beforeEach(async () => {
  const directory = await tempDirectory();
  cache = join(directory, 'nixos-disk-image');
  vi.stubEnv('XDG_CACHE_HOME', directory);
});
afterEach(() => vi.unstubAllEnvs());

const make = vi.fn(async (directory: string): Promise<void> => {
  await mkdir(join(directory, 'inside'));
  await writeFile(join(directory, 'inside/file'), 'what it is\n');
});
beforeEach(() => {
  make.mockClear();
});

test('a complete directory is made only once', async () => {
  const made = await cachedDirectory('thing', make);
  expect(made).toBe(join(cache, 'thing'));
  expect(await cachedDirectory('thing', make)).toBe(made);
  expect(make).toHaveBeenCalledTimes(1);
});

test('if several processes need it at once, one makes it', async () => {
  const made = await Promise.all(Array.from({ length: 5 }, () => cachedDirectory('thing', make)));
  expect(new Set(made).size).toBe(1);
  expect(make).toHaveBeenCalledTimes(1);
});

test.each<[string, (made: string) => Promise<void>]>([
  ['a file is empty', (made) => truncate(join(made, 'inside/file'), 0)],
  ['a file is truncated', (made) => truncate(join(made, 'inside/file'), 4)],
  ['a file is missing', (made) => rm(join(made, 'inside/file'))],
  ['a directory is missing', (made) => rm(join(made, 'inside'), { recursive: true })],
  ['everything is missing', (made) => rm(made, { recursive: true })],
  ['the list of its files is truncated', (made) => truncate(`${made}.files.json`, 5)],
])('it is made again if %s', async (_, damage) => {
  const made = await cachedDirectory('thing', make);
  await damage(made);
  expect(await cachedDirectory('thing', make)).toBe(made);
  expect(make).toHaveBeenCalledTimes(2);
  expect(await readFile(join(made, 'inside/file'), 'utf8')).toBe('what it is\n');
  // The damaged directory leaves nothing behind.
  expect((await readdir(cache)).sort()).toEqual(['thing', 'thing.files.json', 'thing.lock']);
});

test('a partial directory of a killed process is not used', async () => {
  await mkdir(join(cache, 'thing/inside'), { recursive: true });
  await cachedDirectory('thing', make);
  expect(make).toHaveBeenCalledTimes(1);
});

test('a failure leaves nothing behind', async () => {
  const attempt = cachedDirectory('thing', async (directory) => {
    await make(directory);
    throw new Error('full');
  });
  await expect(attempt).rejects.toThrow('full');
  expect(await readdir(cache)).toEqual(['thing.lock']);
});

test('an empty initrd of the builder VM is made again', async () => {
  vi.unstubAllEnvs();
  const kernel = await distributionKernel();
  vi.stubEnv('XDG_CACHE_HOME', join(cache, '..'));
  const initrd = await builderInitrd(kernel);
  const { size } = await stat(initrd);
  expect(size).toBeGreaterThan(1_000_000);
  await truncate(initrd, 0);
  expect(await builderInitrd(kernel)).toBe(initrd);
  expect((await stat(initrd)).size).toBe(size);
});
