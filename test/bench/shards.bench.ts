import { mkdtemp, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { packageFile } from '../../harness/cache-directory.ts';
import { removeTree } from '../../lib/host-files/private-output.ts';
import { localExecutor } from '../../lib/run/local-executor.ts';
import { report, timed } from './table.ts';

const SCENARIOS = ['config-file', 'layout-legacy.scenario', 'layout-none', 'machine-id'];

/** Runs some of the scenarios, one after another. @returns the time of each, and of vitest's start, in seconds. */
async function shard(directory: string, part: string): Promise<{ readonly tests: number[] }> {
  const file = join(directory, `${part.replace('/', '-')}.json`);
  const result = await localExecutor.run(
    [
      ...['npx', '--no-install', 'vitest', 'run', '--project', 'scenarios', ...SCENARIOS, `--shard=${part}`],
      ...['--maxWorkers=1', '--no-file-parallelism', '--reporter=json', `--outputFile.json=${file}`],
    ],
    { cwd: packageFile('.') },
  );
  expect(result.exitCode, result.stderr.toString('utf8')).toBe(0);
  const { testResults } = JSON.parse(await readFile(file, 'utf8')) as {
    testResults: { assertionResults: { duration: number }[] }[];
  };
  return { tests: testResults.flatMap((one) => one.assertionResults.map(({ duration }) => duration / 1000)) };
}

test('scenarios in one shard, and in two at a time', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'ndi-bench-'));
  onTestFinished(() => removeTree(directory));
  let tests: number[] = [];
  const one = (await timed(async () => ({ tests } = await shard(directory, '1/1')))) / 1000;
  const two = (await timed(() => Promise.all([shard(directory, '1/2'), shard(directory, '2/2')]))) / 1000;
  report(`${tests.length} scenarios, one shard ÷ two at a time on this machine`, (one / two).toFixed(2), '');
  const mean = tests.reduce((sum, seconds) => sum + seconds, 0) / tests.length;
  const start = one - mean * tests.length;
  report(
    '100 such scenarios on 50 machines of one core each, projected',
    `${(start + 2 * mean).toFixed(0)} s (${mean.toFixed(1)} s each, ${start.toFixed(1)} s to start)`,
    '',
  );
});
