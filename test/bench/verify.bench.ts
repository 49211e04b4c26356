import { spawn } from 'node:child_process';
import { watch } from 'node:fs';
import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { beforeAll, expect, onTestFinished, test } from 'vitest';
import { packageFile } from '../../harness/cache-directory.ts';
import { startMachine } from '../../harness/machine/start-machine.ts';
import { verifyBoot } from '../../harness/verify/verify-boot.ts';
import type { BuiltImage } from '../../lib/build/build-image.ts';
import { inspectImage } from '../../lib/inspect/inspect-image.ts';
import { formatBytes } from '../../lib/units.ts';
import { demoImage } from '../helpers/demo-image.ts';
import { BUSYBOX_BOOTS, foreignOptions } from '../helpers/foreign/foreign-boots.ts';
import { plainBoot } from '../helpers/plain-boot.ts';
import { run } from '../helpers/run.ts';
import { BrokenImage } from '../vm/fault-gallery/broken-image.ts';
import { FAULTS } from '../vm/fault-gallery/faults.ts';
import { openGallery } from '../vm/fault-gallery/gallery.ts';
import { ACTIVATION } from '../vm/fault-gallery/parts.ts';
import { MEASURE, median, report, timed } from './table.ts';

let image: BuiltImage;
beforeAll(async () => {
  const way = { bootLoaderFrom: 'bootspec', bootLoaderTimeout: 0, bootSize: '64M' } as const;
  image = await demoImage('tiny-grub-hybrid', { partitionTableType: 'hybrid', ...way });
});

test('inspecting an image', async () => {
  const ms: number[] = [];
  for (let round = 0; round < 5; round += 1) ms.push(await timed(() => inspectImage({ image: image.image })));
  report('inspectImage (median of 5)', `${median(ms).toFixed(0)} ms`, '');
});

test('from the prompt in QEMU’s log to the detected login', async () => {
  const delays: number[] = [];
  for (let round = 0; round < 3; round += 1) {
    const logFile = join(await mkdtemp(join(tmpdir(), 'ndi-bench-')), 'console.log');
    await writeFile(logFile, '');
    let inLog = Number.POSITIVE_INFINITY;
    const watcher = watch(logFile, () => {
      if (inLog < Number.POSITIVE_INFINITY) return;
      void readFile(logFile, 'latin1').then((text) => {
        if (/login: $/.test(text)) inLog = Math.min(inLog, performance.now());
      });
    });
    await using machine = await startMachine({ image: image.image, firmware: 'bios', logFile });
    await machine.waitForLoginPrompt();
    const seen = performance.now();
    watcher.close();
    // If the log was read later, the prompt was detected before it.
    delays.push(Math.max(0, seen - Math.min(inLog, seen)));
  }
  report('login seen − prompt in QEMU’s log (worst of 3)', `${Math.max(...delays).toFixed(1)} ms`, '≤ 20 ms');
});

test('a snapshot restore compared with a boot', async () => {
  await using machine = await startMachine({ image: image.image, firmware: 'bios' });
  const boot = await timed(() => machine.login());
  const save = await timed(() => machine.save('login'));
  const restores: number[] = [];
  for (let round = 0; round < 5; round += 1)
    restores.push(
      await timed(async () => {
        await machine.restore('login');
        await machine.succeed('true');
      }),
    );
  report('warm start: restored and a command done ÷ booted', (median(restores) / boot).toFixed(3), '');
  report('warm start: saved once', `${(save / 1000).toFixed(2)} s`, '');
});

test('memory while a guest floods its console', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'ndi-bench-'));
  const hostile = join(directory, 'flood.img');
  await run(['cp', '--sparse=always', image.image, hostile]);
  const broken = new BrokenImage(hostile, image.disk, image.system.toplevel);
  await broken.changeSystem('init', (script) => script.replace(ACTIVATION, 'while :; do cat /proc/kallsyms; done'));
  await writeFile(join(directory, 'measure.mjs'), MEASURE);
  const main = packageFile('dist/cli/main.js');
  const argv = ['--import', join(directory, 'measure.mjs'), main, 'verify', hostile, '--firmware', 'bios'];
  const { exitCode, stderr } = await execa(process.execPath, argv, { reject: false });
  expect(exitCode, stderr).toBe(1);
  const bytes = Number(/VmHWM (\d+)/.exec(stderr)?.[1]) * 1024;
  report('memory of node while a guest floods its console', formatBytes(bytes), '≤ 250 MiB');
});

test('the verdict on each image of the fault gallery', async () => {
  await using gallery = await openGallery();
  const afterMs: number[] = [];
  for (const fault of FAULTS) {
    const { failure, durationMs } = await gallery.boot(fault);
    if (failure?.seenAtMs !== undefined) afterMs.push(durationMs - failure.seenAtMs);
    const right = failure?.name === fault.name && failure.stage === fault.stage;
    const after =
      failure?.seenAtMs === undefined
        ? ''
        : `; ${((durationMs - failure.seenAtMs) / 1000).toFixed(1)} s after its last sign`;
    const seconds = `${(durationMs / 1000).toFixed(1)} s`;
    report(
      `verdict: ${fault.fault} (${fault.firmware})`,
      seconds,
      right ? `${failure.name}${after}` : `WRONG: ${failure?.name}`,
    );
  }
  report('verdict after the last sign (median of the gallery)', `${(median(afterMs) / 1000).toFixed(2)} s`, '≤ 0.3 s');
});

test('the verdict on a good image compared with a manual boot', async () => {
  const toPrompt: number[] = [];
  const toTheEnd: number[] = [];
  for (let round = 0; round < 5; round += 1) {
    let promptMs = 0;
    let byHandMs = 0;
    const byHand = async (): Promise<void> => {
      byHandMs = await timed(async () => {
        const { boots, promptMs: seen = 0 } = await plainBoot(image.image, 'raw', 'bios');
        expect(boots).toBe(true);
        promptMs = seen;
      });
    };
    let verdictMs = 0;
    let loginMs = 0;
    const verdict = async (): Promise<void> => {
      verdictMs = await timed(async () => {
        const { ok, timeline } = await verifyBoot({ image: image.image, firmware: 'bios' });
        expect(ok).toBe(true);
        loginMs = timeline.find(({ stage }) => stage === 'login')?.atMs ?? 0;
      });
    };
    for (const one of round % 2 === 0 ? [byHand, verdict] : [verdict, byHand]) await one();
    toPrompt.push(loginMs / promptMs);
    toTheEnd.push(verdictMs / byHandMs);
  }
  report('logged in ÷ the prompt by hand (median of 5)', median(toPrompt).toFixed(2), '≤ 1.03');
  report('verdict ÷ prompt, login and power-off by hand (median of 5)', median(toTheEnd).toFixed(2), '≤ 1.03');
});

test('two firmwares of one image', async () => {
  const one = async (firmware: 'bios' | 'efi'): Promise<void> => {
    expect((await verifyBoot({ image: image.image, firmware })).ok).toBe(true);
  };
  const ratios: number[] = [];
  for (let round = 0; round < 3; round += 1) {
    const each = await timed(async () => {
      await one('bios');
      await one('efi');
    });
    ratios.push((await timed(() => Promise.all([one('bios'), one('efi')]))) / each);
  }
  report('both firmwares at once ÷ one after the other (median of 3)', median(ratios).toFixed(2), '≤ 0.75 on 2 cores');
});

test.each([0, 6, 12])('boots of good images with %i busy loops on the host', { timeout: 7_200_000 }, async (loops) => {
  const boots = Number(process.env.BOOTS ?? 20);
  // Each has its own session, because the kernel schedules sessions fairly. They end with this process.
  const load = Array.from({ length: loops }, () =>
    spawn('sh', ['-c', `while kill -0 ${process.pid}; do :; done`], { detached: true, stdio: 'ignore' }),
  );
  onTestFinished(() => {
    for (const one of load) one.kill('SIGKILL');
  });
  let next = 0;
  const wrong: string[] = [];
  const lane = async (): Promise<void> => {
    for (let index = next++; index < boots; index = next++) {
      const half = Math.floor(index / 2);
      const foreign = BUSYBOX_BOOTS[half % BUSYBOX_BOOTS.length] ?? BUSYBOX_BOOTS[0];
      const own = { image: image.image, firmware: half % 2 === 0 ? 'bios' : 'efi' } as const;
      const options = index % 2 === 0 || foreign === undefined ? own : await foreignOptions(foreign);
      const { failure, firmware } = await verifyBoot(options);
      if (failure !== undefined) wrong.push(`${options.image}, ${firmware}: ${failure.name}: ${failure.cause}`);
    }
  };
  await Promise.all([lane(), lane()]);
  for (const one of wrong) process.stdout.write(`  ${one}\n`);
  report(`false verdicts of ${boots} boots beside ${loops} busy loops`, `${wrong.length}`, '0');
});
