import { readdir, readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { packageFile } from '../../harness/cache-directory.ts';

const read = (file: string): Promise<string> => readFile(packageFile(file), 'utf8');
const entries = await readdir(packageFile('examples'), { withFileTypes: true });
const examples = entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);

test.each(examples)('%s is in the list of examples, and is written for this version', async (name) => {
  expect(await read('examples/README.md')).toContain(`| [${name}](${name}/README.md) | `);
  const { version } = JSON.parse(await read('package.json'));
  const text = await read(`examples/${name}/package.json`).catch(() => undefined);
  if (text !== undefined) expect(JSON.parse(text).dependencies['nixos-disk-image']).toBe(`^${version}`);
});
