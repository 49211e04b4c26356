import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { tryLock, tryLockOf } from '../../../../lib/run/kernel-lock.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

test('checking whether something is locked creates no file', async () => {
  const directory = await tempDirectory();
  // The owner is removing it: a new file would interfere.
  expect(await tryLockOf(join(directory, 'gone'))).toBeUndefined();
  expect(await readdir(directory)).toEqual([]);
});

test('both ways to take a lock exclude each other', async () => {
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
