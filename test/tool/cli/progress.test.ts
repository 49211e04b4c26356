import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { expect, test } from 'vitest';
import { packageFile } from '../../../harness/cache-directory.ts';
import { buildImage } from '../../../lib/build/build-image.ts';
import type { StepEvent } from '../../../lib/run/step.ts';
import type { ImageSpecInput } from '../../../lib/spec/image-spec.ts';
import { MIB } from '../../../lib/units.ts';
import { prepareDemo } from '../../../vm-images/demo.ts';
import { run } from '../../helpers/run.ts';
import { tempDirectory } from '../../helpers/temp-directory.ts';
import { openTerminal } from '../../helpers/tmux.ts';

/** What a build takes that has something to fill in. */
async function specification() {
  const { store, systems } = await prepareDemo();
  const directory = await tempDirectory();
  const site = join(directory, 'site');
  await mkdir(site);
  for (const name of ['a', 'b', 'c']) await writeFile(join(site, name), Buffer.alloc(100 * MIB, name));
  const spec = {
    ...{ toplevel: systems['tiny-none'] ?? '', store, partitionTableType: 'none', bootLoaderFrom: 'bootspec' },
    ...{ contents: [{ source: site, target: '/srv/site' }], format: 'qcow2' },
  } satisfies ImageSpecInput;
  await writeFile(join(directory, 'image.json'), JSON.stringify(spec));
  return { directory, spec };
}

test('the fill and the conversion say how far they are, in order, and reach no more than all', async () => {
  const { directory, spec } = await specification();
  const events: StepEvent[] = [];
  await buildImage(
    { ...spec, contents: [...spec.contents], outDir: directory },
    { onEvent: (event) => events.push(event) },
  );
  for (const step of ['makeFilesystem', 'convertImage']) {
    const progress = events.flatMap((event) => (event.type === 'progress' && event.step === step ? [event] : []));
    expect(progress.length, step).toBeGreaterThan(0);
    const done = progress.map(({ doneBytes }) => doneBytes);
    expect(done).toEqual([...done].sort((a, b) => a - b));
    for (const { doneBytes, totalBytes } of progress) {
      expect(doneBytes).toBeLessThanOrEqual(totalBytes);
      expect(totalBytes).toBeGreaterThan(300 * MIB);
      expect(totalBytes).toBeLessThan(400 * MIB);
    }
  }
});

test.each([
  60, 80, 120,
])('on a terminal of %d columns: a bar, a line for each step, none that is wrapped', async (columns) => {
  const { directory } = await specification();
  const build = [process.execPath, packageFile('dist/cli/main.js'), 'build', 'image.json', '--out', 'out'];
  // In CI nothing is painted over what was printed before, for a log would keep all of it.
  const terminal = await openTerminal(['env', '-u', 'CI', ...build], { cwd: directory, columns });
  const shown = await terminal.until(/qcow2, in/);
  const steps = shown.split('\n').filter((line) => line.startsWith('✔'));
  expect(steps.map((line) => line.split(/\s+/)[1])).toEqual([
    ...[
      'stageContents',
      'installSystem',
      'computeDiskSize',
      'createDisk',
      'partitionDisk',
      'makeFilesystem',
      'convertImage',
    ],
  ]);
  for (const line of steps) expect(line).toMatch(/ m?s(?:, [\d.]+ [KMG]?i?B)?$/);
  const printed = await terminal.untilPrinted(/qcow2, in/);
  expect(printed).toMatch(/(?:makeFilesystem|convertImage) {2}[█░]{8,} +\d+% {2}[\d.]+ [KMG]?i?B\/3\d\d MiB/);
  expect(printed).not.toContain('.nixos-disk-image-');
});

test('elsewhere: one line a step', async () => {
  const { directory } = await specification();
  const build = [process.execPath, packageFile('dist/cli/main.js'), 'build', 'image.json', '--out', 'out'];
  const stderr = await run(['sh', '-c', '"$@" 2>&1 >/dev/null', 'sh', ...build], { cwd: directory });
  const lines = stderr.trimEnd().split('\n');
  expect(lines).toHaveLength(8);
  expect(lines.slice(0, -1).every((line) => /^done {2}\w+ {2}.* m?s/.test(line))).toBe(true);
  expect(stripVTControlCharacters(stderr)).toBe(stderr);
  expect(stderr).not.toMatch(/[█░]|\.nixos-disk-image-/);
});
