import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { packageFile } from '../../harness/cache-folder.ts';
import { verifyBoot } from '../../harness/verify/verify-boot.ts';
import { removeTree } from '../../lib/host-files/private-output.ts';
import { localExecutor } from '../../lib/run/local-executor.ts';
import { prepareDemo } from '../../vm-images/demo.ts';

/** Runs a script of the README inside the package, where its own name resolves to what `npm run build` made. */
async function runScript(name: string, ...args: string[]): Promise<{ folder: string; stdout: string }> {
  const readme = await readFile(packageFile('README.md'), 'utf8');
  const script = [...readme.matchAll(/```js\n([\s\S]*?)```/g)]
    .map(([, text]) => text)
    .find((text) => text?.startsWith(`// ${name} `));
  if (script === undefined) throw new Error(`the README has no script ${name}`);
  const folder = await mkdtemp(join(packageFile('dist'), 'readme-'));
  onTestFinished(() => removeTree(folder));
  await writeFile(join(folder, name), script);
  const result = await localExecutor.run([process.execPath, name, ...args], { cwd: folder });
  expect(result.exitCode, result.stderr.toString('utf8')).toBe(0);
  return { folder, stdout: result.stdout.toString('utf8') };
}

test('the script in the README composes the steps by hand, and its image boots', async () => {
  const { store, systems } = await prepareDemo();
  const { stdout } = await runScript('build-by-hand.mjs', systems['tiny-systemd-boot'] ?? '', store);
  expect(stdout).toMatch(/^true \[/);
});

test('so does the one without a VM', async () => {
  const { store, systems } = await prepareDemo();
  const { folder } = await runScript('build-offline.mjs', systems['tiny-systemd-boot'] ?? '', store);
  const report = await verifyBoot({ image: join(folder, 'offline.img'), firmware: 'efi' });
  expect(report.ok, JSON.stringify(report.failure)).toBe(true);
});
