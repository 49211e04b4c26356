import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { packageFile } from '../../harness/cache-folder.ts';
import { localExecutor } from '../../lib/local-executor.ts';
import { removeTree } from '../../lib/private-output.ts';
import { prepareDemo } from '../../vm-images/demo.ts';

test('the script in the README composes the steps by hand, and its image boots', async () => {
  const { store, systems } = await prepareDemo();
  const readme = await readFile(packageFile('README.md'), 'utf8');
  const script = /```js\n(\/\/ build-by-hand\.mjs[\s\S]*?)```/.exec(readme)?.[1];
  if (script === undefined) throw new Error('the README has no script build-by-hand.mjs');
  // Inside the package, where its own name resolves to what `npm run build` made.
  const folder = await mkdtemp(join(packageFile('dist'), 'readme-'));
  onTestFinished(() => removeTree(folder));
  await writeFile(join(folder, 'build-by-hand.mjs'), script);
  const result = await localExecutor.run(
    [process.execPath, 'build-by-hand.mjs', systems['tiny-systemd-boot'] ?? '', store],
    { cwd: folder },
  );
  expect(result.exitCode, result.stderr.toString('utf8')).toBe(0);
  expect(result.stdout.toString('utf8')).toMatch(/^true \[/);
});
