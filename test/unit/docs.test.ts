import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { FAILURE_PATTERNS } from '../../harness/console/failures.ts';
import { FAULTS } from '../vm/fault-gallery/faults.ts';

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

test('the fault gallery’s table has every fault, and the README its number', async () => {
  const text = await read('verify.md');
  for (const { fault, firmware, stage, name } of FAULTS)
    expect(text).toContain(`| ${fault} | ${firmware} | ${stage} | \`${name}\` |`);
  expect(await read('../README.md')).toContain(`of ${FAULTS.length} ways to break an`);
});
