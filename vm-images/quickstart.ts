import { join } from 'node:path';
import { EXIT, errorText, exitCodeOf } from '../cli/exit-codes.ts';
import { Progress } from '../cli/progress.ts';
import { chooseAccelerator } from '../harness/builder/accelerator.ts';
import { startBuilderVm } from '../harness/builder/builder-vm.ts';
import { packageFile } from '../harness/cache-directory.ts';
import { renderText } from '../harness/report/text.ts';
import type { BootReport } from '../harness/verify/boot-report.ts';
import {
  checkCurrentSystem,
  checkFailedUnits,
  checkFirmwareMode,
  checkRootFilesystem,
  checkStoreContents,
} from '../harness/verify/checks.ts';
import { verifyBoot } from '../harness/verify/verify-boot.ts';
import { buildImage } from '../lib/build/build-image.ts';
import { prepareDemo } from './demo.ts';

/** An end-to-end demonstration: Nix builds the demo system, buildImage makes a hybrid image of it, and verifyBoot boots
 *  that image in BIOS and in EFI mode, logs in, runs checks, and shuts down. */

const interrupt = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interrupt.abort(new Error(signal)));
const { signal } = interrupt;
const progress = new Progress({ shown: 'steps' });
const say = (line: string): boolean => process.stdout.write(`${line}\n`);

async function quickstart(): Promise<number> {
  progress.begin('demo system');
  const { store, systems } = await prepareDemo((line) => progress.stage(line));
  progress.succeed('demo system, built by Nix');
  const { accelerator, reason } = await chooseAccelerator(signal);
  say(`accelerator: ${accelerator} (${reason})`);

  const toplevel = systems['demo-grub-hybrid'] ?? '';
  const built = await buildImage(
    { outDir: join(packageFile('.'), 'quickstart'), toplevel, store, partitionTableType: 'hybrid' },
    { startBuilder: startBuilderVm, signal, onEvent: progress.onEvent },
  );
  const checks = [
    checkCurrentSystem(toplevel),
    checkRootFilesystem({ uuid: built.filesystem.uuid, label: 'nixos' }),
    checkFailedUnits,
    checkStoreContents,
  ];
  const reports: BootReport[] = [];
  for (const firmware of ['bios', 'efi'] as const) {
    progress.begin(`boot  ${firmware}`);
    reports.push(
      await verifyBoot(
        { image: built.image, firmware, checks: [checkFirmwareMode(firmware), ...checks] },
        { signal, onStage: ({ stage }) => progress.stage(`boot  ${firmware}: ${stage}`) },
      ),
    );
    progress.succeed(`boot  ${firmware}`);
  }
  say('');
  for (const report of reports) say(renderText(report));
  const good = reports.every(({ ok }) => ok);
  say(
    good
      ? `\nVerdict: ${built.image} boots in legacy BIOS and in EFI mode.`
      : `\nVerdict: ${built.image} does not boot correctly.`,
  );
  if (good) say(`Try it: node dist/cli/main.js run ${built.image}   (log in as root; press Ctrl-] to stop)`);
  return good ? EXIT.good : EXIT.wrong;
}

try {
  process.exitCode = await quickstart();
} catch (error) {
  progress.fail();
  process.stderr.write(`${errorText(error)}\n`);
  process.exitCode = exitCodeOf(error);
}
