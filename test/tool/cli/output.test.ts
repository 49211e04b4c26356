import { expect, test } from 'vitest';
import { packageFile } from '../../../harness/cache-directory.ts';
import { localExecutor } from '../../../lib/run/local-executor.ts';

test.each([
  ['--help'],
  ['schema'],
  ['doctor', '--json'],
])('an answer that cannot be written is no answer: %s', async (...args) => {
  const script = 'exec "$@" > /dev/full';
  const command = [process.execPath, packageFile('dist/cli/main.js'), ...args];
  const { exitCode, stderr } = await localExecutor.run(['sh', '-c', script, 'sh', ...command], {
    env: { NIXOS_DISK_IMAGE_ACCEL: 'tcg' },
  });
  expect(stderr.toString('utf8')).toBe('standard output cannot be written: no space is left\n');
  expect(exitCode).toBe(3);
});

test('a reader that goes away ends it without a word', async () => {
  const command = [process.execPath, packageFile('dist/cli/main.js'), 'schema'];
  const script = '{ "$@"; echo "status $?" >&2; } | head -c 1';
  const { stderr } = await localExecutor.run(['sh', '-c', script, 'sh', ...command]);
  expect(stderr.toString('utf8')).toMatch(/^status \d+\n$/);
});
