import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { tryLock, tryLockOf } from '../../../../lib/run/kernel-lock.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

test('whoever only looks whether something is locked makes nothing', async () => {
  const directory = await tempDirectory();
  // Its owner is just removing it: a new file would be in the way.
  expect(await tryLockOf(join(directory, 'gone'))).toBeUndefined();
  expect(await readdir(directory)).toEqual([]);
});

test('a lock is one for both ways to take it', async () => {
  const file = join(await tempDirectory(), 'lock');
  {
    using held = await tryLock(file);
    expect(held).toBeDefined();
    expect(await tryLockOf(file)).toBeUndefined();
  }
  await writeFile(file, '');
  using again = await tryLockOf(file);
  expect(again?.file).toBe(file);
});
