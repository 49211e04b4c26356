import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { FAILURE_PATTERNS } from '../../harness/console/failures.ts';

const read = (name: string): Promise<string> => readFile(join(import.meta.dirname, '../../docs', name), 'utf8');

test('docs/verify.md has every failure pattern, as it is', async () => {
  const text = await read('verify.md');
  const rows = FAILURE_PATTERNS.map(
    ({ name, stage, severity, cause, source }) =>
      `| \`${name}\` | ${stage ?? 'where it happens'} | ${severity} | ${cause} | ${source} |`,
  );
  const table = ['| name | stage | severity | cause | printed by |', '|---|---|---|---|---|', ...rows].join('\n');
  expect(text).toContain(table);
});
