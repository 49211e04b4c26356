import { createHash } from 'node:crypto';
import { copyFile, open, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { startMachine } from '../../../../harness/machine/start-machine.ts';
import { commandCheck, equalCheck } from '../../../../harness/verify/checks.ts';
import { verifyBoot } from '../../../../harness/verify/verify-boot.ts';
import type { BuiltImage } from '../../../../lib/build/build-image.ts';
import { MIB } from '../../../../lib/units.ts';
import { demoImage } from '../../../helpers/demo-image.ts';
import { run } from '../../../helpers/run.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

let good: BuiltImage;
beforeAll(async () => {
  good = await demoImage('tiny-grub-hybrid', { partitionTableType: 'hybrid' });
});

/** A copy of the good image that is broken in one way. */
async function broken(breakIt: (image: string) => Promise<void>): Promise<string> {
  const image = join(await tempDirectory(), 'broken.img');
  await run(['cp', '--sparse=always', good.image, image]);
  await breakIt(image);
  return image;
}

async function overwrite(image: string, offsetBytes: number, bytes: Buffer): Promise<void> {
  const handle = await open(image, 'r+');
  await handle.write(bytes, 0, bytes.length, offsetBytes);
  await handle.close();
}

test('a good image has a good verdict, all stages in order, and is not changed', async () => {
  const hash = async (): Promise<string> =>
    createHash('sha256')
      .update(await readFile(good.image))
      .digest('hex');
  const before = [await hash(), (await stat(good.image)).mtimeMs];
  const logFile = join(await tempDirectory(), 'console.log');
  const report = await verifyBoot({
    image: good.image,
    firmware: 'bios',
    logFile,
    checks: [commandCheck('touch /written && sync'), equalCheck('output', 'printf "a\\nb"', 'a\nb')],
  });
  expect(report.failure).toBeUndefined();
  expect(report.ok).toBe(true);
  expect(report.cleanShutdown).toBe(true);
  expect(report.timeline.map(({ stage }) => stage)).toEqual([
    'firmware',
    'loader',
    'kernel',
    'stage 1',
    'stage 2',
    'init',
    'login',
  ]);
  expect(report.kernelTimes?.userspaceMs).toBeGreaterThan(0);
  // Its init is not systemd.
  expect(report.systemdTimes).toBeUndefined();
  expect(report.logFile).toBe(logFile);
  expect([await hash(), (await stat(good.image)).mtimeMs]).toEqual(before);
  expect(await readFile(logFile, 'utf8')).toMatch(/<<< NixOS Stage 2 >>>/);
});

test('systemd is asked for its own times', async () => {
  const { image } = await demoImage('demo-systemd-boot', { partitionTableType: 'efi' });
  const { failure, systemdTimes, kernelTimes } = await verifyBoot({ image, firmware: 'efi' });
  expect(failure).toBeUndefined();
  // It starts behind the kernel, and behind a stage 1 that is a script.
  expect(systemdTimes?.kernelMs).toBeGreaterThan(kernelTimes?.userspaceMs ?? 0);
  expect(systemdTimes?.userspaceMs).toBeGreaterThan(0);
  expect(systemdTimes).toMatchObject({ initrdMs: undefined });
});

test('a failed check makes the report bad, and the other checks still run', async () => {
  const report = await verifyBoot({
    image: good.image,
    firmware: 'bios',
    checks: [commandCheck('echo nope; exit 4'), commandCheck('true')],
  });
  expect(report.ok).toBe(false);
  expect(report.checks.map(({ ok }) => ok)).toEqual([false, true]);
  expect(report.failure).toMatchObject({ stage: 'checks' });
  expect(report.failure?.cause).toMatch(/exited with status 4/);
});

test('no boot sector: the BIOS reports it within seconds', async () => {
  const image = await broken((file) => overwrite(file, 0, Buffer.alloc(512)));
  const report = await verifyBoot({ image, firmware: 'bios' });
  expect(report.failure).toMatchObject({ stage: 'firmware' });
  expect(report.failure?.cause).toMatch(/not a boot sector/);
  expect(report.durationMs).toBeLessThan(30_000);
});

test('no loader on the ESP: the firmware opens its shell', async () => {
  const esp = good.disk.esp;
  const image = await broken((file) => overwrite(file, esp?.offsetBytes ?? 0, Buffer.alloc(MIB)));
  const report = await verifyBoot({ image, firmware: 'efi' });
  expect(report.failure?.stage).toBe('firmware');
  expect(report.failure?.cause).toMatch(/found no EFI boot loader|opened its shell/);
});

test('a root that is not found is a failure in stage 1', async () => {
  const image = await broken(async (file) => {
    await copyFile(file, file);
    await run(['tune2fs', '-L', 'other', `broken.img?offset=${good.disk.root.offsetBytes}`], { cwd: join(file, '..') });
  });
  const report = await verifyBoot({ image, firmware: 'bios' });
  expect(report.failure).toMatchObject({ stage: 'stage 1' });
  expect(report.failure?.cause).toMatch(/LABEL=nixos was not found/);
  expect(report.console.filter((line) => line.includes(report.failure?.line ?? 'no line'))).not.toEqual([]);
});

test('a killed QEMU is a failure of the harness, not of the guest', async () => {
  await using machine = await startMachine({ image: good.image, firmware: 'bios' });
  await machine.waitForConsoleText('Linux version');
  const waiting = machine.waitForLoginPrompt();
  machine.qemu.kill();
  await expect(waiting).rejects.toMatchObject({ code: 'E_MACHINE_EXITED', exit: { signal: 'SIGKILL' } });
});

test('an abort ends a wait and the machine', async () => {
  const abort = new AbortController();
  const running = verifyBoot(
    { image: good.image, firmware: 'bios' },
    { signal: abort.signal, onStage: ({ stage }) => stage === 'kernel' && abort.abort() },
  );
  await expect(running).rejects.toMatchObject({ code: 'E_ABORTED' });
});

test('commands in the guest: status, output, long and unusual commands', async () => {
  await using machine = await startMachine({ image: good.image, firmware: 'bios' });
  await machine.login();
  expect(await machine.execute('printf 12; exit 3')).toEqual({ exitCode: 3, output: '12' });
  const long = `printf %s '${'long and "odd" $HOME \\ '.repeat(200)}' | wc -c`;
  expect(await machine.succeed(long)).toBe(`${'long and "odd" $HOME \\ '.length * 200}`);
  expect(await machine.succeed('seq 1 5000 | tail -n 1')).toBe('5000');
  expect((await machine.succeed('seq 1 2000')).split('\n')).toHaveLength(2000);
  await expect(machine.succeed('false')).rejects.toMatchObject({ code: 'E_ASSERTION_FAILED' });
  await machine.fail('false');
  expect((await machine.shutdown()).reason).toBe('guest-shutdown');
});

test('two machines boot the same image at once', async () => {
  const reports = await Promise.all([1, 2].map(() => verifyBoot({ image: good.image, firmware: 'bios' })));
  expect(reports.map(({ ok }) => ok)).toEqual([true, true]);
});
