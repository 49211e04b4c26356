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

test('CONTRIBUTING.md names the major version of each dependency that waits for the next', async () => {
  const text = await readFile(packageFile('CONTRIBUTING.md'), 'utf8');
  const { dependencies, devDependencies } = JSON.parse(await readFile(packageFile('package.json'), 'utf8'));
  const rows = [...text.matchAll(/^\| `([@\w/-]+)` \| (\d+) \| (\d+) \|/gm)];
  expect(rows.length).toBeGreaterThan(5);
  for (const [, name = '', here, next] of rows) {
    expect(/\d+/.exec({ ...dependencies, ...devDependencies }[name])?.[0], name).toBe(here);
    expect(Number(next)).toBeGreaterThan(Number(here));
  }
});
