import { truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { describe, expect, test } from 'vitest';
import { packageFile } from '../../../harness/cache-directory.ts';
import { localExecutor } from '../../../lib/run/local-executor.ts';
import { MIB } from '../../../lib/units.ts';
import { prepareDemo } from '../../../vm-images/demo.ts';
import { tempDirectory } from '../../helpers/temp-directory.ts';
import { openTerminal } from '../../helpers/tmux.ts';

const CLI = [process.execPath, packageFile('dist/cli/main.js')];
/** Of this test's own surroundings: none of the variables that say something of colours. */
const SILENT = ['env', '-u', 'NO_COLOR', '-u', 'FORCE_COLOR', '-u', 'CI', '-u', 'GITHUB_ACTIONS'];

async function emptyDisk(): Promise<string> {
  const directory = await tempDirectory();
  await writeFile(join(directory, 'empty.img'), '');
  await truncate(join(directory, 'empty.img'), 2 * MIB);
  return directory;
}

const COLOUR = '\u001b[3';
const RED = `${COLOUR}1m  fatal`;

describe.each([
  ['on a terminal', [], true],
  ['with NO_COLOR', ['NO_COLOR=1'], false],
  ['with FORCE_COLOR=0', ['FORCE_COLOR=0'], false],
  ['on one that cannot', ['TERM=dumb'], false],
  ['in GitHub’s CI, whose log shows them', ['CI=1', 'GITHUB_ACTIONS=1'], true],
])('%s', (_, variables, isColoured) => {
  const open = (cwd: string, args: readonly string[]) =>
    openTerminal([...SILENT, ...variables, ...CLI, ...args], { cwd });

  test(`inspect is ${isColoured ? '' : 'not '}in colours`, async () => {
    const terminal = await open(await emptyDisk(), ['inspect', 'empty.img']);
    expect((await terminal.untilPrinted(/not a boot sector/)).includes(RED)).toBe(isColoured);
  });

  test(`the progress of a build is ${isColoured ? '' : 'not '}in colours`, async () => {
    const { store, systems } = await prepareDemo();
    const given = ['--toplevel', systems['tiny-none'] ?? '', '--store', store];
    const terminal = await open(await tempDirectory(), ['build', ...given, '--partition-table-type', 'none']);
    expect((await terminal.untilPrinted(/raw, in/)).includes(COLOUR)).toBe(isColoured);
  });
});

test.each([
  ['in a pipe', [], false],
  ['in a pipe with FORCE_COLOR', ['FORCE_COLOR=1'], true],
])('%s', async (_, variables, isColoured) => {
  const cwd = await emptyDisk();
  const { stdout } = await localExecutor.run([...SILENT, ...variables, ...CLI, 'inspect', 'empty.img'], { cwd });
  const text = stdout.toString('utf8');
  expect(text.includes(RED)).toBe(isColoured);
  expect(text === stripVTControlCharacters(text)).toBe(!isColoured);
});
