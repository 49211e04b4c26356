// Runs every tier and the scenarios, and prints a total in the last line: "12 passed, 0 failed, 1 skipped".
// Arguments go to vitest: npm test -- --project unit
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const directory = mkdtempSync(join(tmpdir(), 'ndi-test-'));
const report = join(directory, 'report.json');
const chosen = process.argv.slice(2);
const projects = chosen.some((argument) => argument.startsWith('--project'))
  ? []
  : ['unit', 'tool', 'toolchain', 'vm', 'scenarios'].flatMap((name) => ['--project', name]);
const vitest = spawnSync(
  'npx',
  [
    '--no-install',
    'vitest',
    'run',
    ...projects,
    '--reporter=default',
    '--reporter=json',
    `--outputFile.json=${report}`,
    ...chosen,
  ],
  { stdio: 'inherit' },
);
let summary;
try {
  summary = JSON.parse(readFileSync(report, 'utf8'));
} catch {
  console.log('vitest ended without a report');
  process.exit(vitest.status || 1);
} finally {
  rmSync(directory, { recursive: true, force: true });
}
const skipped = summary.numPendingTests + summary.numTodoTests;
// A file that could not be loaded has no failed test.
const brokenFiles = summary.testResults.filter(
  (file) => file.status === 'failed' && file.assertionResults.length === 0,
).length;
const failed = summary.numFailedTests + brokenFiles;
console.log(`${summary.numPassedTests} passed, ${failed} failed, ${skipped} skipped`);
const skippedInCi = skipped > 0 && process.env.CI !== undefined;
if (skippedInCi) console.log('A tier that could not run fails CI.');
process.exit(vitest.status !== 0 || failed > 0 || summary.numPassedTests === 0 || skippedInCi ? 1 : 0);
