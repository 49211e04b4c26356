import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { beforeAll, expect, test } from 'vitest';
import { packageFile } from '../../../harness/cache-folder.ts';
import { type DemoSystems, prepareDemo } from '../../../vm-images/demo.ts';
import { tempFolder } from '../../helpers/temp-folder.ts';

const MAIN = packageFile('dist/cli/main.js');
const cli = (args: readonly string[], options: { cwd?: string } = {}) =>
  execa(process.execPath, [MAIN, ...args], { reject: false, ...options });

let demo: DemoSystems;
beforeAll(async () => {
  demo = await prepareDemo();
});

test('build and verify: the path on standard output, progress on standard error, status 0', async () => {
  const folder = await tempFolder();
  await writeFile(
    join(folder, 'image.json'),
    JSON.stringify({ toplevel: demo.systems['tiny-grub-bios'], store: demo.store, additionalSpace: '32M' }),
  );
  const built = await cli(['build', 'image.json', '--out', 'out', '--format', 'qcow2'], { cwd: folder });
  expect(built.exitCode, built.stderr).toBe(0);
  expect(built.stdout).toBe(join(folder, 'out/nixos.qcow2'));
  expect(built.stderr).toMatch(/done {2}installSystem .* m?s/);
  const verified = await cli(
    ['verify', 'out/nixos.qcow2', '--toplevel', demo.systems['tiny-grub-bios'] ?? '', '--json'],
    { cwd: folder },
  );
  expect(verified.exitCode, verified.stderr).toBe(0);
  expect(JSON.parse(verified.stdout)).toMatchObject([{ firmware: 'legacy', ok: true, stageReached: 'login' }]);
  const checked = await cli(['verify', 'out/nixos.qcow2', '--check', 'false'], { cwd: folder });
  expect(checked.exitCode).toBe(1);
  expect(checked.stdout).toMatch(/^BAD {3}out\/nixos.qcow2[\s\S]*FAIL {2}false/);
});

test('usage errors are status 2, all at once, and touch nothing', async () => {
  const folder = await tempFolder();
  await writeFile(
    join(folder, 'image.json'),
    JSON.stringify({ label: 'x'.repeat(20), colour: 'red', fsType: 'xfs', reproducible: true }),
  );
  const wrong = await cli(['build', 'image.json', '--out', 'out'], { cwd: folder });
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
    expect((await cli(args, { cwd: folder })).exitCode, args.join(' ')).toBe(2);
  expect(await readdir(folder)).toEqual(['image.json']);
});

test('an image that cannot boot is status 1, with the stage and the cause', async () => {
  const folder = await tempFolder();
  await mkdir(join(folder, 'out'));
  await writeFile(join(folder, 'empty.img'), Buffer.alloc(4 * 1024 * 1024));
  const verified = await cli(['verify', 'empty.img', '--firmware', 'legacy'], { cwd: folder });
  expect(verified.exitCode).toBe(1);
  expect(verified.stdout).toMatch(/failed in stage "firmware" \(no-boot-signature\): .*no boot sector/);
});

test.each(['SIGINT', 'SIGTERM'] as const)('%s ends a build in order', async (signal) => {
  const folder = await tempFolder();
  const building = execa(
    process.execPath,
    [MAIN, 'build', '--toplevel', demo.systems['tiny-grub-bios'] ?? '', '--store', demo.store, '--out', 'out'],
    { cwd: folder, reject: false },
  );
  building.stderr.on('data', (text: Buffer) => {
    if (text.includes('makeFilesystem')) building.kill(signal);
  });
  const ended = await building;
  expect(ended.exitCode).toBe(130);
  expect(await readdir(join(folder, 'out'))).toEqual([]);
});

test('doctor lists what is there', async () => {
  const report = await cli(['doctor', '--json']);
  expect(report.exitCode, report.stdout).toBe(0);
  expect(JSON.parse(report.stdout)).toMatchObject({
    good: true,
    accelerator: { accelerator: expect.stringMatching(/kvm|tcg/) },
  });
  expect((await cli(['doctor'])).stdout).toMatch(/ok +qemu-system-x86_64 +QEMU emulator version/);
});
