import { mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { packageFile } from '../../harness/cache-directory.ts';
import { removeTree } from '../../lib/host-files/private-output.ts';
import type { RunResult } from '../../lib/run/executor.ts';
import { localExecutor } from '../../lib/run/local-executor.ts';
import { packPackage } from '../helpers/packed-package.ts';
import { run } from '../helpers/run.ts';

const SCRIPT = `import { createDisk, type StepContext } from 'nixos-disk-image';
import { type BootReport, startMachine, verifyBoot } from 'nixos-disk-image/harness';

export const context: StepContext = {};
export const disk: Promise<{ readonly sizeBytes: number }> = createDisk({ image: 'x.img', sizeBytes: 1024 ** 2 }, context);
export const report: Promise<BootReport> = verifyBoot({ image: 'x.img', firmware: 'efi' });
export async function screen(): Promise<Uint8Array> {
  await using machine = await startMachine({ image: 'x.img', firmware: 'bios' });
  return (await machine.screenshot()).png;
}
// @ts-expect-error: there is no such option.
createDisk({ image: 'x.img', sizeByte: 1 });
`;

test('the packed types compile under --strict with @types/node, of any version; without it, it is named', async () => {
  const work = await mkdtemp(join(tmpdir(), 'ndi-types-'));
  onTestFinished(() => removeTree(work));
  const tarball = await packPackage(work);
  const consumer = join(work, 'consumer');
  await mkdir(consumer);
  const compilerOptions = { strict: true, noEmit: true, target: 'es2023', module: 'nodenext', types: [] };
  const files = {
    'package.json': JSON.stringify({ name: 'consumer', private: true, type: 'module' }),
    'tsconfig.json': JSON.stringify({ compilerOptions, files: ['script.ts'] }),
    'script.ts': SCRIPT,
  };
  for (const [name, text] of Object.entries(files)) await writeFile(join(consumer, name), text);
  const install = (...packages: string[]): Promise<string> =>
    run(['npm', 'install', '--ignore-scripts', '--prefer-offline', '--loglevel=error', ...packages], { cwd: consumer });
  const compile = async (): Promise<RunResult> =>
    localExecutor.run([packageFile('node_modules/.bin/tsc'), '-p', '.'], { cwd: consumer });

  await install(tarball);
  expect(String((await compile()).stdout)).toContain("Cannot find type definition file for 'node'");
  for (const version of ['20.19', '22', '24']) {
    await install(`@types/node@${version}`);
    expect(String((await compile()).stdout)).toBe('');
  }
});
