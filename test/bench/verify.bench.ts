import { watch } from 'node:fs';
import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { beforeAll, expect, test } from 'vitest';
import { packageFile } from '../../harness/cache-folder.ts';
import { startMachine } from '../../harness/machine/start-machine.ts';
import { verifyBoot } from '../../harness/verify/verify-boot.ts';
import type { BuiltImage } from '../../lib/build-image.ts';
import { inspectImage } from '../../lib/inspect/inspect-image.ts';
import { formatBytes } from '../../lib/units.ts';
import { demoImage } from '../helpers/demo-image.ts';
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

test('looking at an image', async () => {
  const ms: number[] = [];
  for (let round = 0; round < 5; round += 1) ms.push(await timed(() => inspectImage({ image: image.image })));
  report('inspectImage (median of 5)', `${median(ms).toFixed(0)} ms`, '');
});

test('from the prompt in QEMU’s log to the login seen', async () => {
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
    await using machine = await startMachine({ image: image.image, firmware: 'legacy', logFile });
    await machine.waitForLoginPrompt();
    const seen = performance.now();
    watcher.close();
    // Where the log was not read first, the prompt was seen before it.
    delays.push(Math.max(0, seen - Math.min(inLog, seen)));
  }
  report('login seen − prompt in QEMU’s log (worst of 3)', `${Math.max(...delays).toFixed(1)} ms`, '≤ 20 ms');
});

test('a warm start beside a boot', async () => {
  await using machine = await startMachine({ image: image.image, firmware: 'legacy' });
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
  const folder = await mkdtemp(join(tmpdir(), 'ndi-bench-'));
  const hostile = join(folder, 'flood.img');
  await run(['cp', '--sparse=always', image.image, hostile]);
  const broken = new BrokenImage(hostile, image.disk, image.system.toplevel);
  await broken.changeSystem('init', (script) => script.replace(ACTIVATION, 'while :; do cat /proc/kallsyms; done'));
  await writeFile(join(folder, 'measure.mjs'), MEASURE);
  const main = packageFile('dist/cli/main.js');
  const argv = ['--import', join(folder, 'measure.mjs'), main, 'verify', hostile, '--firmware', 'legacy'];
  const { exitCode, stderr } = await execa(process.execPath, argv, { reject: false });
  expect(exitCode, stderr).toBe(1);
  const bytes = Number(/VmHWM (\d+)/.exec(stderr)?.[1]) * 1024;
  report('memory of node while a guest floods its console', formatBytes(bytes), '≤ 250 MiB');
});

test('the verdict on each image of the fault gallery', async () => {
  await using gallery = await openGallery();
  for (const fault of FAULTS) {
    const { failure, durationMs } = await gallery.boot(fault);
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
});

test('boots of a good image, mixed firmwares, two at a time', async () => {
  const boots = Number(process.env.BOOTS ?? 10);
  let next = 0;
  const failures: string[] = [];
  const lane = async (): Promise<void> => {
    while (next < boots) {
      const firmware = next % 2 === 0 ? 'legacy' : 'efi';
      next += 1;
      const { failure } = await verifyBoot({ image: image.image, firmware });
      if (failure !== undefined) failures.push(`${firmware}: ${failure.name} in ${failure.stage}: ${failure.cause}`);
    }
  };
  const took = await timed(() => Promise.all([lane(), lane()]));
  for (const failure of failures) process.stdout.write(`  ${failure}\n`);
  report(`good verdicts of ${boots} boots of a good image`, `${boots - failures.length}`, `${boots}`);
  report('the same, a boot', `${(took / boots / 1000).toFixed(1)} s`, '');
});
