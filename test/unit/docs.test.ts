import { access, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { packageFile } from '../../harness/cache-directory.ts';
import * as harness from '../../harness/index.ts';
import { FAILURE_PATTERNS } from '../../harness/verdict/failures.ts';
import * as library from '../../lib/index.ts';
import { BLOCKS_RUN_BY, codeBlock, codeBlocks, commandsOf } from '../helpers/code-blocks.ts';
import { FAULTS } from '../vm/fault-gallery/faults.ts';

const read = (name: string): Promise<string> => readFile(join(import.meta.dirname, '../../docs', name), 'utf8');

test('docs/verify.md has every failure pattern, verbatim', async () => {
  const text = await read('verify.md');
  const rows = FAILURE_PATTERNS.map(
    ({ name, stage, severity, cause, source }) =>
      `| \`${name}\` | ${stage ?? 'where it happens'} | ${severity} | ${cause} | ${source} |`,
  );
  const table = ['| name | stage | severity | cause | printed by |', '|---|---|---|---|---|', ...rows].join('\n');
  expect(text).toContain(table);
});

test('the fault gallery’s table has every fault, and the README has their number', async () => {
  const text = await read('verify.md');
  for (const { fault, firmware, stage, name } of FAULTS)
    expect(text).toContain(`| ${fault} | ${firmware} | ${stage} | \`${name}\` |`);
  expect(await read('../README.md')).toContain(
    `of ${FAULTS.filter(({ slow }) => slow !== true).length} ways to break an`,
  );
});

test('docs/errors.md has every error class with its code and exit status, and a section for each code', async () => {
  const text = await read('errors.md');
  const classes = Object.entries({ ...library, ...harness }).filter(
    ([, value]) => typeof value === 'function' && value.prototype instanceof library.DiskImageError,
  );
  expect(classes.length).toBeGreaterThan(12);
  const sources = await Promise.all(['../lib/run/errors.ts', '../harness/errors.ts'].map(read));
  const codes = [...sources.join('').matchAll(/readonly code = '(E_\w+)'/g)].map(([, code]) => code ?? '');
  for (const code of codes) {
    expect(text).toContain(`| [\`${code}\`](#${code.toLowerCase()}) |`);
    expect(text).toContain(`\n## ${code}\n`);
  }
  for (const [name] of classes) expect(text).toContain(`\`${name}\``);
  expect([...text.matchAll(/^## (E_\w+)$/gm)].map(([, code]) => code).sort()).toEqual(codes.sort());
});

test('a test runs every code block in the README and the docs', async () => {
  const blocks = codeBlocks();
  for (const { file, text } of blocks) {
    const [claim] = BLOCKS_RUN_BY.filter(([beginning]) => text.startsWith(beginning));
    expect(claim, `${file}: ${text.slice(0, 80)}`).toBeDefined();
  }
  expect(blocks.length).toBe(BLOCKS_RUN_BY.length);
  for (const [beginning, by] of BLOCKS_RUN_BY) {
    expect(await read(`../${by}`), `${by} runs ${beginning}`).toContain(
      beginning
        .replace(/^\/\/ /, '')
        .split('\n')[0]
        ?.slice(0, 15),
    );
  }
});

test('every path and script in CONTRIBUTING.md exists', async () => {
  const text = await read('../CONTRIBUTING.md');
  const paths = [...text.matchAll(/`((?:lib|harness|cli|nix|test|scenarios|vm-images|docs|examples)\b[^` ]*)`/g)].map(
    ([, path]) => path ?? '',
  );
  expect(paths.length).toBeGreaterThan(20);
  for (const path of paths.filter((one) => !one.includes('NAME'))) await access(packageFile(path));
  const { scripts } = JSON.parse(await read('../package.json'));
  for (const [, script = ''] of text.matchAll(/npm run ([\w:]+)/g)) expect(scripts).toHaveProperty([script]);
});

test('the README’s two commands are scripts of the package, and CI runs one of them', async () => {
  const { scripts } = JSON.parse(await read('../package.json'));
  expect(commandsOf(codeBlock('npm run quickstart'))).toEqual(['npm run quickstart', 'npm test']);
  expect(Object.keys(scripts)).toEqual(expect.arrayContaining(['quickstart', 'test']));
  expect(await read('../.ci/run')).toContain('\nnpm test\n');
});
