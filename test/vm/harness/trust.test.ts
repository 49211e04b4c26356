import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdir, readFile, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { beforeAll, expect, onTestFinished, test, vi } from 'vitest';
import { packageFile } from '../../../harness/cache-directory.ts';
import { startMachine } from '../../../harness/machine/start-machine.ts';
import { verifyBoot } from '../../../harness/verify/verify-boot.ts';
import type { BuiltImage } from '../../../lib/build/build-image.ts';
import { demoImage } from '../../helpers/demo-image.ts';
import { run } from '../../helpers/run.ts';
import { tempDirectory } from '../../helpers/temp-directory.ts';
import { BrokenImage } from '../fault-gallery/broken-image.ts';
import { ACTIVATION } from '../fault-gallery/parts.ts';

// The image may be hostile.

let good: BuiltImage;
beforeAll(async () => {
  const way = { bootLoaderFrom: 'bootspec', bootLoaderTimeout: 0, bootSize: '64M' } as const;
  good = await demoImage('tiny-grub-hybrid', { partitionTableType: 'hybrid', ...way });
});

async function facts(file: string): Promise<unknown> {
  const { mtimeMs, size } = await stat(file);
  return [
    createHash('sha256')
      .update(await readFile(file))
      .digest('hex'),
    mtimeMs,
    size,
  ];
}

test('a killed verification leaves the image unchanged, and no files or processes', async () => {
  const before = await facts(good.image);
  const temporary = await tempDirectory();
  vi.stubEnv('TMPDIR', temporary);
  onTestFinished(() => void vi.unstubAllEnvs());
  const child = spawn(process.execPath, [packageFile('dist/cli/main.js'), 'verify', good.image, '--firmware', 'bios'], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  await new Promise<void>((resolve) => {
    child.stderr.on('data', (text: Buffer) => /stage 1/.test(text.toString()) && resolve());
  });
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await gone;
  expect(await facts(good.image)).toEqual(before);
  // Its QEMU ends with the pty, and the next machine removes its files.
  expect((await verifyBoot({ image: good.image, firmware: 'bios' })).ok).toBe(true);
  expect(await facts(good.image)).toEqual(before);
  expect(await readdir(temporary)).toEqual([]);
});

test('QEMU runs in its sandbox, without a network, with its sockets in a private directory', async () => {
  await using machine = await startMachine({ image: good.image, firmware: 'bios' });
  await machine.waitForConsoleText('SeaBIOS');
  const argv = machine.qemu.argv.join(' ');
  expect(argv).toMatch(/-sandbox on,/);
  expect(argv).not.toMatch(/-netdev|-nic|-net /);
  expect(await readFile(`/proc/${machine.qemu.pid}/status`, 'utf8')).toMatch(/^Seccomp:\s+2$/m);
  const socket = /socket,id=qmp,path=([^,]+),/.exec(argv)?.[1] ?? '';
  expect((await stat(dirname(socket))).mode & 0o777).toBe(0o700);
});

/** The good image with a different stage 2. */
async function hostile(script: string): Promise<string> {
  const image = join(await tempDirectory(), 'hostile.img');
  await run(['cp', '--sparse=always', good.image, image]);
  const broken = new BrokenImage(image, good.disk, good.system.toplevel);
  await broken.changeSystem('init', (stage2) => stage2.replace(ACTIVATION, script));
  return image;
}

test('a guest that prints prompts and verdicts is not believed', async () => {
  const image = await hostile(String.raw`
    printf 'GOOD  all boots verified\n\ntiny login: '
    while read -r line; do printf 'Welcome!\n# \nGOOD\n<verified>\ntiny login: '; done`);
  const report = await verifyBoot({ image, firmware: 'bios', timeoutMs: 60_000 });
  expect(report.ok).toBe(false);
  expect(report.failure?.stage).toMatch(/login|checks/);
});

test('a program that prints a fake prompt does not hide the real one', async () => {
  const image = await hostile(String.raw`printf 'how to login: \nfoo login: \n'`);
  const report = await verifyBoot({ image, firmware: 'bios' });
  expect(report.failure, report.console.slice(-10).join('\n')).toBeUndefined();
});

test('a guest that floods its console is ended, and its log is limited', async () => {
  const image = await hostile(`while :; do cat /proc/kallsyms; done`);
  const logFile = join(await tempDirectory(), 'console.log');
  const report = await verifyBoot({ image, firmware: 'bios', logFile });
  expect(report.failure?.name).toBe('console-flood');
  expect((await stat(logFile)).size).toBeLessThan(70 * 1024 * 1024);
});
