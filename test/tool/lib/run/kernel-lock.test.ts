import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { tryLock, tryLockOf } from '../../../../lib/run/kernel-lock.ts';
import { tempFolder } from '../../../helpers/temp-folder.ts';

test('whoever only looks whether something is locked makes nothing', async () => {
  const folder = await tempFolder();
  // Its owner is just removing it: a new file would be in the way.
  expect(await tryLockOf(join(folder, 'gone'))).toBeUndefined();
  expect(await readdir(folder)).toEqual([]);
});

test('a lock is one for both ways to take it', async () => {
  const file = join(await tempFolder(), 'lock');
  {
    using held = await tryLock(file);
    expect(held).toBeDefined();
    expect(await tryLockOf(file)).toBeUndefined();
  }
  await writeFile(file, '');
  using again = await tryLockOf(file);
  expect(again?.file).toBe(file);
});
