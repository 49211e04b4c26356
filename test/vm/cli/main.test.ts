import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { beforeAll, expect, test } from 'vitest';
import { packageFile } from '../../../harness/cache-directory.ts';
import { type DemoSystems, prepareDemo } from '../../../vm-images/demo.ts';
import { expectJsonOf } from '../../helpers/json-schema.ts';
import { tempDirectory } from '../../helpers/temp-directory.ts';

const MAIN = packageFile('dist/cli/main.js');
const cli = (args: readonly string[], options: { cwd?: string } = {}) =>
  execa(process.execPath, [MAIN, ...args], { reject: false, ...options });

let demo: DemoSystems;
beforeAll(async () => {
  demo = await prepareDemo();
});

test('build and verify print the path on standard output and progress on standard error, with status 0', async () => {
  const directory = await tempDirectory();
  await writeFile(
    join(directory, 'image.json'),
    JSON.stringify({ toplevel: demo.systems['tiny-grub-bios'], store: demo.store, additionalSpace: '32M' }),
  );
  const built = await cli(['build', 'image.json', '--out', 'out', '--format', 'qcow2'], { cwd: directory });
  expect(built.exitCode, built.stderr).toBe(0);
  expect(built.stdout).toBe(join(directory, 'out/nixos.qcow2'));
  expect(built.stderr).toMatch(/done {2}installSystem .* m?s/);
  const verified = await cli(
    ['verify', 'out/nixos.qcow2', '--toplevel', demo.systems['tiny-grub-bios'] ?? '', '--json'],
    { cwd: directory },
  );
  expect(verified.exitCode, verified.stderr).toBe(0);
  expect(await expectJsonOf('verify', verified.stdout)).toMatchObject([
    { firmware: 'bios', ok: true, stageReached: 'login' },
  ]);
  const checked = await cli(['verify', 'out/nixos.qcow2', '--check', 'false'], { cwd: directory });
  expect(checked.exitCode).toBe(1);
  expect(checked.stdout).toMatch(/^BAD {3}out\/nixos.qcow2[\s\S]*FAIL {2}false/);
});

test('usage errors have status 2, are reported together and change nothing', async () => {
  const directory = await tempDirectory();
  await writeFile(
    join(directory, 'image.json'),
    JSON.stringify({ label: 'x'.repeat(20), colour: 'red', fsType: 'xfs', reproducible: true }),
  );
  const wrong = await cli(['build', 'image.json', '--out', 'out'], { cwd: directory });
  expect(wrong.exitCode).toBe(2);
  for (const problem of [
    /toplevel: is required/,
    /colour/,
    /label: is longer than the 12 bytes of xfs/,
    /reproducible: contradicts/,
  ])
    expect(wrong.stderr).toMatch(problem);
  for (const args of [
    ['build', '--colour'],
    ['nonsense'],
    ['verify'],
    ['verify', 'missing.img'],
    ['build', 'missing.json'],
    ['verify', '.', '--firmware', 'coreboot'],
  ])
    expect((await cli(args, { cwd: directory })).exitCode, args.join(' ')).toBe(2);
  expect(await readdir(directory)).toEqual(['image.json']);
});

test('an image that cannot boot has status 1, with the stage and the cause', async () => {
  const directory = await tempDirectory();
  await mkdir(join(directory, 'out'));
  await writeFile(join(directory, 'empty.img'), Buffer.alloc(4 * 1024 * 1024));
  const reports = await cli(['verify', 'empty.img', '--firmware', 'bios', '--json'], { cwd: directory });
  expect(await expectJsonOf('verify', reports.stdout)).toMatchObject([{ ok: false, failure: { stage: 'firmware' } }]);
  const verified = await cli(['verify', 'empty.img', '--firmware', 'bios', '--sarif', 'out/boot.sarif'], {
    cwd: directory,
  });
  expect(verified.exitCode).toBe(1);
  expect(verified.stdout).toMatch(/failed in stage "firmware" \(no-boot-signature\): .*not a boot sector/);
  expect(await resultsOf(join(directory, 'out/boot.sarif'))).toEqual([['no-boot-signature', 'empty.img']]);
});

test('inspect writes its findings as SARIF', async () => {
  const directory = await tempDirectory();
  await writeFile(join(directory, 'empty.img'), Buffer.alloc(4 * 1024 * 1024));
  const inspected = await cli(['inspect', 'empty.img', '--sarif', 'found.sarif'], { cwd: directory });
  expect(inspected.exitCode, inspected.stderr).toBe(1);
  expect(await resultsOf(join(directory, 'found.sarif'))).toContainEqual(['no-boot-signature', 'empty.img']);
  expect((await cli(['inspect', 'empty.img', '--sarif', 'nowhere/found.sarif'], { cwd: directory })).exitCode).toBe(2);
});

/** The rule and the place of each result. */
async function resultsOf(file: string): Promise<[string, string][]> {
  const { runs } = JSON.parse(await readFile(file, 'utf8'));
  return runs[0].results.map((result: { ruleId: string; locations: Location[] }) => [
    result.ruleId,
    result.locations[0]?.physicalLocation.artifactLocation.uri,
  ]);
}

interface Location {
  readonly physicalLocation: { readonly artifactLocation: { readonly uri: string } };
}

test.each(['SIGINT', 'SIGTERM'] as const)('%s ends a build cleanly', async (signal) => {
  const directory = await tempDirectory();
  const building = execa(
    process.execPath,
    [MAIN, 'build', '--toplevel', demo.systems['tiny-grub-bios'] ?? '', '--store', demo.store, '--out', 'out'],
    { cwd: directory, reject: false },
  );
  building.stderr.on('data', (text: Buffer) => {
    if (text.includes('makeFilesystem')) building.kill(signal);
  });
  const ended = await building;
  expect(ended.exitCode).toBe(130);
  expect(await readdir(join(directory, 'out'))).toEqual([]);
});

test('doctor lists the installed programs', async () => {
  const report = await cli(['doctor', '--json']);
  expect(report.exitCode, report.stdout).toBe(0);
  expect(JSON.parse(report.stdout)).toMatchObject({
    good: true,
    accelerator: { accelerator: expect.stringMatching(/kvm|tcg/) },
  });
  expect((await cli(['doctor'])).stdout).toMatch(/ok +qemu-system-x86_64 +QEMU emulator version/);
});
