import { constants } from 'node:fs';
import { access, writeFile } from 'node:fs/promises';
import { basename, dirname, resolve } from 'node:path';
import type { DiskInterface } from '../harness/qemu/argv.ts';
import { renderHtml } from '../harness/report/html.ts';
import { renderJunit } from '../harness/report/junit.ts';
import { renderText } from '../harness/report/text.ts';
import type { BootReport } from '../harness/verify/boot-report.ts';
import { checkCurrentSystem, checkFirmwareMode, commandCheck } from '../harness/verify/checks.ts';
import { verifyBoot } from '../harness/verify/verify-boot.ts';
import { InvalidOptionsError } from '../lib/errors.ts';
import { type ImageInspection, inspectImage } from '../lib/inspect/inspect-image.ts';
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
  readonly efiVars?: string | undefined;
  readonly kernelParameters?: string;
  readonly json?: boolean;
  readonly junit?: string;
  readonly html?: string;
}

export async function verifyCommand(image: string, flags: VerifyFlags, signal: AbortSignal): Promise<number> {
  await checkWritable({ '--html': flags.html, '--junit': flags.junit, '--log': flags.log });
  const reports = await verifyImage(image, flags, signal, flags.json === true);
  if (flags.json === true) process.stdout.write(`${JSON.stringify(reports, undefined, 2)}\n`);
  if (flags.junit !== undefined) await writeFile(flags.junit, renderJunit(reports));
  if (flags.html !== undefined) await writeFile(flags.html, renderHtml(reports, basename(image)));
  return reports.every(({ ok }) => ok) ? EXIT.good : EXIT.wrong;
}

/** Boots an image in each firmware and shows each report when it is there. */
export async function verifyImage(
  image: string,
  flags: VerifyFlags,
  signal: AbortSignal,
  quiet: boolean,
): Promise<BootReport[]> {
  const inspection = await inspectImage({ image }, { signal });
  const modes = flags.firmware ?? inspection.firmware;
  if (modes.length === 0)
    throw new InvalidOptionsError(
      'verify',
      [{ path: '', message: `${image} does not say which firmware it is for: ${whyNot(inspection)}` }],
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
        inspection,
        efiVariables: flags.efiVars,
        kernelParameters: flags.kernelParameters,
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
    if (!quiet) process.stdout.write(`${renderText(report)}\n`);
  }
  return reports;
}

/** Before a minute is spent on what could then not be written down. */
async function checkWritable(files: Readonly<Record<string, string | undefined>>): Promise<void> {
  for (const [option, file] of Object.entries(files))
    if (file !== undefined)
      await access(dirname(resolve(file)), constants.W_OK).catch((cause: unknown) => {
        const message = `${dirname(resolve(file))} is not there, or cannot be written to`;
        throw new InvalidOptionsError('verify', [{ path: option, message }], { cause });
      });
}

function whyNot({ table, partitions, filesystem, findings }: ImageInspection): string {
  if (table === 'none' && partitions.length === 0 && filesystem === undefined)
    return 'it has neither a partition table nor a filesystem; is it a disk image?';
  const reasons = findings.map(({ message }) => message);
  return reasons.length > 0 ? reasons.join('; ') : table === 'none' ? 'it has no partition table' : 'it has no loader';
}
