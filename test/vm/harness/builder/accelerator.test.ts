import { cp, mkdir, readdir, truncate } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { distributionKernel } from '../../../../harness/builder/builder-kernel.ts';
import { packageFile } from '../../../../harness/cache-directory.ts';
import { localExecutor } from '../../../../lib/run/local-executor.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

test('a damaged verdict on KVM in the cache is determined again', async () => {
  const directory = await tempDirectory();
  const cache = join(directory, 'nixos-disk-image');
  await mkdir(cache);
  // The kernel must not be downloaded again.
  const { kernel } = await distributionKernel();
  for (const name of [dirname(kernel), `${dirname(kernel)}.files.json`])
    await cp(name, join(cache, basename(name)), { recursive: true });
  const accelerator = async (): Promise<unknown> => {
    const result = await localExecutor.run([process.execPath, packageFile('dist/cli/main.js'), 'doctor', '--json'], {
      env: { XDG_CACHE_HOME: directory },
    });
    expect(result.stderr.toString('utf8')).toBe('');
    expect(result.exitCode).toBe(0);
    return JSON.parse(result.stdout.toString('utf8')).accelerator;
  };
  const verdict = await accelerator();
  expect(verdict).toMatchObject({ accelerator: expect.stringMatching(/^(kvm|tcg)$/), reason: expect.any(String) });
  const [file = ''] = (await readdir(cache)).filter((name) => name.startsWith('accelerator-'));
  await truncate(join(cache, file), 20);
  expect(await accelerator()).toMatchObject({ accelerator: expect.stringMatching(/^(kvm|tcg)$/) });
  // It is cached again: the third verdict is exactly the second one.
  expect(await accelerator()).toEqual(await accelerator());
});
