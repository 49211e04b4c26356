import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { z } from 'zod';
import { packageFile } from '../../../harness/cache-directory.ts';
import { removeTree } from '../../../lib/host-files/private-output.ts';
import { localExecutor } from '../../../lib/run/local-executor.ts';
import { demoImage } from '../../helpers/demo-image.ts';

const TESTS = `
import { readdirSync, readFileSync } from 'node:fs';
import { check, expect, test } from 'nixos-disk-image/harness/vitest';
import { vi } from 'vitest';

const image = process.env.IMAGE;
const machines = () => readdirSync('/proc').filter((pid) => {
  try {
    return /^\\d+$/.test(pid) && readFileSync('/proc/' + pid + '/cmdline', 'utf8').includes(image);
  } catch {
    return false;
  }
});

let checked = false;

test('times out', { timeout: 4000 }, async () => {
  await expect(image).toBoot({
    firmware: 'efi',
    checks: [
      check('takes long', (machine) => machine.succeed('sleep 600')),
      check('is never run', async () => {
        checked = true;
      }),
    ],
  });
});

test('the next test finds no QEMU', { timeout: 60_000 }, async ({ task }) => {
  await vi.waitFor(() => expect(machines()).toEqual([]), { timeout: 30_000 });
  expect(checked).toBe(false);
  expect(task.meta.boots).toBeUndefined();
});

test('does not boot', { timeout: 300_000 }, async () => {
  await expect(image).not.toBoot({ firmware: 'bios' });
});

test('does not boot for one reason, and not for another', { timeout: 300_000 }, async () => {
  await expect(image).toFailBooting('no-boot-code', { firmware: 'bios' });
  await expect(image).not.toFailBooting('kernel-panic', { firmware: 'bios' });
});
`;

const reportSchema = z.object({
  testResults: z.array(
    z.object({
      assertionResults: z.array(z.object({ status: z.string() })),
    }),
  ),
});

test('a test that times out leaves no machine, and an expected failure is green on the page', async () => {
  const { image } = await demoImage('tiny-systemd-boot', {
    ...{ partitionTableType: 'efi', bootLoaderFrom: 'bootspec', bootLoaderTimeout: 0 },
  });
  // Inside the package, where its name resolves to the build output.
  const directory = await mkdtemp(join(packageFile('dist'), 'vitest-'));
  onTestFinished(() => removeTree(directory));
  await writeFile(join(directory, 'image.test.ts'), TESTS);
  await writeFile(join(directory, 'vitest.config.ts'), 'export default {};');
  const result = await localExecutor.run(
    [
      ...['npx', 'vitest', 'run', '--reporter=default', '--reporter=json', '--outputFile.json=results.json'],
      '--reporter=nixos-disk-image/harness/vitest-reporter',
    ],
    { cwd: directory, env: { IMAGE: image } },
  );
  const said = `${result.stdout.toString('utf8')}${result.stderr.toString('utf8')}`;
  const { testResults } = reportSchema.parse(JSON.parse(await readFile(join(directory, 'results.json'), 'utf8')));
  const results = testResults.flatMap(({ assertionResults }) => assertionResults);
  expect(
    results.map(({ status }) => status),
    said,
  ).toEqual(['failed', 'passed', 'passed', 'passed']);
  expect(said).toContain('Test timed out in 4000ms');
  const page = await readFile(join(directory, 'boots.html'), 'utf8');
  // The one that timed out has no verdict.
  expect(page.match(/<section id="boot-/g)).toHaveLength(3);
  expect(page).toContain('<title>All 3 boots went as expected – Boot verification</title>');
  expect(page).not.toContain('class="outcome bad"');
  for (const outcome of [
    'not to boot',
    'to end with &quot;no-boot-code&quot;',
    'not to end with &quot;kernel-panic&quot;',
  ])
    expect(page).toContain(`expected ${outcome}`);
});
