import { copyFile, mkdir, mkdtemp, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { parse } from 'yaml';
import { packageFile } from '../../../harness/cache-directory.ts';
import { removeTree } from '../../../lib/host-files/private-output.ts';
import { localExecutor } from '../../../lib/run/local-executor.ts';
import { codeBlock } from '../../helpers/code-blocks.ts';
import { demoImage } from '../../helpers/demo-image.ts';

interface Job {
  readonly strategy?: { readonly matrix: { readonly shard: readonly number[] } };
  readonly steps: readonly { readonly run?: string }[];
}

/** Runs vitest as a CI job does. */
function commands(job: Job): string[] {
  return job.steps.flatMap(({ run }) => (run?.startsWith('npx vitest') ? [run.trim()] : []));
}

test('the tests from the docs, on the docs’ CI machines, make one report and one page with every boot', async () => {
  const { image } = await demoImage('demo-grub-hybrid', {
    ...{ partitionTableType: 'hybrid', bootLoaderFrom: 'bootspec', bootLoaderTimeout: 0 },
  });
  // Inside the package, where its name resolves to the build output.
  const directory = await mkdtemp(join(packageFile('dist'), 'shards-'));
  onTestFinished(() => removeTree(directory));
  for (const name of ['test', 'images']) await mkdir(join(directory, name));
  await copyFile(image, join(directory, 'images/nixos.img'));
  await writeFile(join(directory, 'test/image.test.ts'), codeBlock('// test/image.test.ts').text);
  const readme = codeBlock("import { expect, test } from 'nixos-disk-image/harness/vitest';");
  await writeFile(join(directory, 'test/readme.test.ts'), readme.text);
  await writeFile(join(directory, 'vitest.config.ts'), codeBlock('// vitest.config.ts').text);

  const { jobs } = parse(codeBlock('jobs:').text) as { jobs: { boot: Job; report: Job } };
  const shards = jobs.boot.strategy?.matrix.shard ?? [];
  expect(shards.length).toBeGreaterThan(1);
  const type = async (command: string): Promise<string> => {
    const result = await localExecutor.run(['sh', '-c', command], { cwd: directory });
    const said = `${result.stdout.toString('utf8')}${result.stderr.toString('utf8')}`;
    expect(result.exitCode, `${command}\n${said}`).toBe(0);
    return said;
  };
  for (const shard of shards)
    for (const command of commands(jobs.boot)) await type(command.replace(/\$\{\{ matrix\.shard \}\}/g, `${shard}`));
  expect((await readdir(join(directory, '.vitest-reports'))).length).toBe(shards.length);
  for (const command of commands(jobs.report)) expect(await type(command)).toMatch(/4 passed/);
  const page = await readFile(join(directory, 'boots.html'), 'utf8');
  // The two of test.each, and the README's; a machine that a test controls itself has no report.
  expect([...page.matchAll(/<section id="boot-/g)].length).toBe(3);
  expect(page).toContain('boots: bios');
  expect(await readFile(join(directory, 'boots.xml'), 'utf8')).toContain('tests="4" failures="0"');
});
