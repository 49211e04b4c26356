import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { packageFile } from '../../harness/cache-directory.ts';

// TypeScript 6.0 does not rewrite import() in a function with `await using`.
test('dist imports nothing from the sources', async () => {
  const wrong = [];
  for (const name of await readdir(packageFile('dist'), { recursive: true }))
    if (
      name.endsWith('.js') &&
      /(from|import\()\s*['"]\.[^'"]*\.ts['"]/.test(await readFile(join(packageFile('dist'), name), 'utf8'))
    )
      wrong.push(name);
  expect(wrong).toEqual([]);
});
