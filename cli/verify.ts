import { checkCurrentSystem, checkFirmwareMode, commandCheck } from '../harness/checks.ts';
import type { DiskInterface } from '../harness/qemu/argv.ts';
import { imageFirmware } from '../harness/qemu/image-firmware.ts';
import { type BootReport, verifyBoot } from '../harness/verify-boot.ts';
import { InvalidOptionsError } from '../lib/errors.ts';
import { renderBootReport } from './boot-report.ts';
import { EXIT } from './exit-codes.ts';
import { Progress } from './progress.ts';

export interface VerifyFlags {
  readonly firmware?: readonly ('legacy' | 'efi')[];
  readonly toplevel?: string;
  readonly check?: readonly string[];
  readonly user: string;
  readonly password?: string;
  readonly login: boolean;
  readonly memory?: number;
  readonly diskInterface?: DiskInterface;
  readonly accel?: 'kvm' | 'tcg';
  readonly timeout?: number;
  readonly log?: string;
  readonly json?: boolean;
}

export async function verifyCommand(image: string, flags: VerifyFlags, signal: AbortSignal): Promise<number> {
  const reports = await verifyImage(image, flags, signal, flags.json === true);
  if (flags.json === true) process.stdout.write(`${JSON.stringify(reports, undefined, 2)}\n`);
  return reports.every(({ ok }) => ok) ? EXIT.good : EXIT.wrong;
}

/** Boots an image in each firmware and shows each report when it is there. */
export async function verifyImage(
  image: string,
  flags: VerifyFlags,
  signal: AbortSignal,
  quiet: boolean,
): Promise<BootReport[]> {
  const modes = flags.firmware ?? (await imageFirmware(image));
  if (modes.length === 0)
    throw new InvalidOptionsError(
      'verify',
      [{ path: '', message: `${image} has no partition table that says which firmware it is for` }],
      { hint: 'name it: --firmware legacy, or efi' },
    );
  const reports: BootReport[] = [];
  for (const firmware of modes) {
    const progress = new Progress({ verbose: false });
    progress.begin(`boot  ${firmware}`);
    const report = await verifyBoot(
      {
        image,
        firmware,
        login: flags.login ? { user: flags.user, password: flags.password } : false,
        checks: [
          checkFirmwareMode(firmware),
          ...(flags.toplevel === undefined ? [] : [checkCurrentSystem(flags.toplevel)]),
          ...(flags.check ?? []).map(commandCheck),
        ],
        memoryMiB: flags.memory,
        diskInterface: flags.diskInterface,
        accelerator: flags.accel,
        timeoutMs: flags.timeout === undefined ? undefined : flags.timeout * 1000,
        logFile: flags.log,
        commandTimeoutMs: flags.timeout === undefined ? undefined : flags.timeout * 1000,
      },
      { signal, onStage: ({ stage }) => progress.stage(`boot  ${firmware}: ${stage}`) },
    ).catch((error: unknown) => {
      progress.fail();
      throw error;
    });
    if (report.ok) progress.succeed(`boot  ${firmware}`);
    else progress.fail();
    reports.push(report);
    if (!quiet) process.stdout.write(`${renderBootReport(report)}\n`);
  }
  return reports;
}
