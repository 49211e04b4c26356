import { mkdtemp, readdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { packageFile } from '../../harness/cache-directory.ts';
import { verifyBoot } from '../../harness/verify/verify-boot.ts';
import { removeTree } from '../../lib/host-files/private-output.ts';
import { localExecutor } from '../../lib/run/local-executor.ts';
import { prepareDemo } from '../../vm-images/demo.ts';
import { codeBlock, commandsOf } from '../helpers/code-blocks.ts';
import { run } from '../helpers/run.ts';

const tool = (name: string): string => packageFile(`node_modules/.bin/${name}`);

/** Compiles and runs a script from the README or the docs inside the package, where the package's name resolves to the output of
 *  `npm run build`. */
async function runScript(name: string, ...args: string[]): Promise<{ directory: string; stdout: string }> {
  const directory = await mkdtemp(join(packageFile('dist'), 'readme-'));
  onTestFinished(() => removeTree(directory));
  await writeFile(join(directory, name), codeBlock(`// ${name} `).text);
  const strict = [
    '--ignoreConfig',
    '--strict',
    '--noEmit',
    '--target',
    'es2022',
    '--module',
    'nodenext',
    '--types',
    'node',
    '--skipLibCheck',
  ];
  const compiled = await localExecutor.run([tool('tsc'), ...strict, '--lib', 'es2023,esnext.disposable', name], {
    cwd: directory,
  });
  expect(compiled.stdout.toString('utf8')).toBe('');
  const result = await localExecutor.run([tool('jiti'), name, ...args], { cwd: directory });
  expect(result.exitCode, result.stderr.toString('utf8')).toBe(0);
  return { directory, stdout: result.stdout.toString('utf8') };
}

test('the image from the README’s script, which composes the steps, boots', async () => {
  const { store, systems } = await prepareDemo();
  const { stdout } = await runScript('build-by-hand.ts', systems['tiny-systemd-boot'] ?? '', store);
  expect(stdout).toMatch(/^true \[/);
});

test('the image from the script without a VM boots', async () => {
  const { store, systems } = await prepareDemo();
  const { directory } = await runScript('build-offline.ts', systems['tiny-systemd-boot'] ?? '', store);
  const report = await verifyBoot({ image: join(directory, 'offline.img'), firmware: 'efi' });
  expect(report.ok, JSON.stringify(report.failure)).toBe(true);
});

test('docs/composing.md: nothing but the finished image is left', async () => {
  const { store, systems } = await prepareDemo();
  const { directory } = await runScript('cleanup.ts', systems['tiny-systemd-boot'] ?? '', store);
  expect((await readdir(directory)).sort()).toEqual(['cleanup.ts', 'data.img']);
});

test('docs/layouts.md: a disk for data', async () => {
  const { stdout } = await runScript('partitions.ts');
  expect(stdout).toBe('swap: swap, data: ext4\n');
});

test('the README: packed in a checkout, installed in a project', async () => {
  const work = await mkdtemp(join(tmpdir(), 'ndi-install-'));
  onTestFinished(() => removeTree(work));
  const checkout = join(work, 'nixos-disk-image');
  await run(['git', 'clone', '--quiet', packageFile('.'), checkout]);
  const [pack = '', install = '', use = ''] = commandsOf(codeBlock('npm install && npm pack'));
  await run(['bash', '-euc', pack], { cwd: checkout });
  await writeFile(join(work, 'package.json'), '{ "private": true }');
  await run(['bash', '-euc', install], { cwd: work });
  expect(await run(['bash', '-euc', `${use} || true`], { cwd: work })).toContain('qemu-system-x86_64');
});

test('docs/errors.md: errors are distinguished by their classes', async () => {
  const { stdout } = await runScript('errors.ts', '/nowhere/nixos.img');
  expect(stdout).toBe('not usable: /nowhere/nixos.img does not exist\n');
});
