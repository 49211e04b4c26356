import { basename, extname } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { describeHolders, type PlaceHolder } from '../harness/machine/admission.ts';
import type { BootAnswer } from '../harness/machine/machine-spec.ts';
import type { DiskInterface } from '../harness/qemu/argv.ts';
import { renderAnnotations } from '../harness/report/annotations.ts';
import { compareBoot, renderComparison, type TimedBoot } from '../harness/report/compare.ts';
import { renderJunit } from '../harness/report/junit.ts';
import { renderMarkdown } from '../harness/report/markdown.ts';
import { renderBootSarif } from '../harness/report/sarif.ts';
import { renderText } from '../harness/report/text.ts';
import type { BootReport } from '../harness/verify/boot-report.ts';
import { checkCurrentSystem, checkFirmwareMode, commandCheck } from '../harness/verify/checks.ts';
import { verifyBoot } from '../harness/verify/verify-boot.ts';
import { readPassphrase } from '../lib/host-files/disk-secrets.ts';
import { type ImageInspection, inspectImage } from '../lib/inspect/inspect-image.ts';
import { InvalidOptionsError } from '../lib/run/errors.ts';
import { coloured } from './colours.ts';
import { readEarlierRun } from './earlier-run.ts';
import { EXIT } from './exit-codes.ts';
import { parseCredentials, type SecureBootFlags, secureBootOf, type TpmFlags, tpmOf } from './options.ts';
import { checkOutputs, writeOutput } from './output-files.ts';
import { Progress } from './progress.ts';
import { packageVersion } from './version.ts';

export interface VerifyFlags extends SecureBootFlags, TpmFlags {
  readonly firmware?: readonly ('bios' | 'efi')[];
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
  readonly console?: boolean;
  readonly passphrase?: string;
  readonly passphraseFile?: string | undefined;
  readonly answer?: readonly string[];
  readonly ignore?: readonly string[];
  readonly allowReboots?: number;
  readonly credential?: readonly string[];
  readonly efiVars?: string | undefined;
  readonly kernelParameters?: string;
  readonly json?: boolean;
  readonly quiet?: boolean | undefined;
  readonly junit?: string;
  readonly html?: string;
  readonly compare?: string;
  readonly summary?: string;
  readonly sarif?: string;
  readonly annotations?: string;
}

export async function verifyCommand(image: string, flags: VerifyFlags, signal: AbortSignal): Promise<number> {
  await checkOutputs(
    'verify',
    {
      ...{ '--html': flags.html, '--junit': flags.junit, '--log': flags.log, '--summary': flags.summary },
      ...{ '--sarif': flags.sarif, '--annotations': flags.annotations },
    },
    {
      ...{ 'the image': image, 'the file of --efi-vars': flags.efiVars, 'the file of --compare': flags.compare },
      'the file of --passphrase-file': flags.passphraseFile,
    },
  );
  const earlier = flags.compare === undefined ? undefined : await readEarlierRun(flags.compare);
  const reports = await verifyImage(image, flags, signal, { asJson: flags.json === true, earlier });
  if (flags.json === true) process.stdout.write(`${JSON.stringify(reports, undefined, 2)}\n`);
  const write = (option: string, file: string, text: string, how = {}): Promise<void> =>
    writeOutput('verify', option, file, text, how);
  if (flags.junit !== undefined) await write('--junit', flags.junit, renderJunit(reports));
  if (flags.sarif !== undefined) await write('--sarif', flags.sarif, renderBootSarif(reports, await packageVersion()));
  if (flags.annotations !== undefined) await write('--annotations', flags.annotations, renderAnnotations(reports));
  if (flags.html !== undefined) {
    const { renderHtml } = await import('../harness/report/html.tsx');
    await write('--html', flags.html, renderHtml(reports, undefined, { earlier }));
  }
  if (flags.summary !== undefined)
    await write('--summary', flags.summary, `${renderMarkdown(reports, basename(image))}\n`, { append: true });
  return reports.every(({ ok }) => ok) ? EXIT.good : EXIT.wrong;
}

/** Boots an image in each firmware and shows each report when it is there. */
export async function verifyImage(
  image: string,
  flags: VerifyFlags,
  signal: AbortSignal,
  { asJson, earlier }: { readonly asJson: boolean; readonly earlier?: readonly TimedBoot[] | undefined },
): Promise<BootReport[]> {
  const passphrase = await passphraseOf(flags);
  const answers = parseAnswers(flags.answer ?? []);
  const credentials = parseCredentials('verify', flags.credential ?? []);
  const inspection = await inspectImage({ image }, { signal });
  const secureBoot = secureBootOf(flags);
  // Only EFI has Secure Boot.
  const isForEfi = secureBoot !== undefined && flags.firmware === undefined;
  const modes = isForEfi ? (['efi'] as const) : (flags.firmware ?? inspection.firmware);
  if (modes.length === 0)
    throw new InvalidOptionsError(
      'verify',
      [{ path: '', message: `${image} does not say which firmware it is for: ${whyNot(inspection)}` }],
      { hint: 'name it: --firmware bios, or efi' },
    );
  const reports: BootReport[] = [];
  for (const firmware of modes) {
    const progress = new Progress({ shown: flags.quiet === true ? 'failures' : 'steps' });
    progress.begin(`boot  ${firmware}`);
    const showLine = (line: string): void => progress.line(`${firmware} | ${line}`);
    const console = flags.console === true ? new ConsoleLines(showLine) : undefined;
    const onWait = (holders: readonly PlaceHolder[]): void =>
      progress.note(`boot  ${firmware}: waits for a place: ${describeHolders(holders)}`);
    const report = await verifyBoot(
      {
        image,
        firmware,
        inspection,
        efiVariables: flags.efiVars,
        secureBoot,
        tpm: tpmOf(flags),
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
        logFile: logFileOf(flags.log, firmware, modes.length),
        passphrase,
        answers,
        credentials,
        ignore: flags.ignore,
        allowReboots: flags.allowReboots,
        commandTimeoutMs: flags.timeout === undefined ? undefined : flags.timeout * 1000,
      },
      {
        ...{ signal, onWait },
        onStage: ({ stage }) => progress.stage(`boot  ${firmware}: ${stage}`),
        onConsole: (data) => console?.push(data),
      },
    )
      .catch((error: unknown) => {
        progress.fail();
        throw error;
      })
      .finally(() => console?.end());
    if (report.ok) progress.succeed(`boot  ${firmware}`);
    else progress.fail();
    reports.push(report);
    if (!asJson) process.stdout.write(`${coloured(textOf(report, earlier))}\n`);
  }
  return reports;
}

function textOf(report: BootReport, earlier: readonly TimedBoot[] | undefined): string {
  const text = renderText(report);
  return earlier === undefined ? text : `${text}\n${renderComparison(report, compareBoot(earlier, report))}`;
}

/** The passphrase of an encrypted disk, from the command line or from a file. */
async function passphraseOf({ passphrase, passphraseFile }: VerifyFlags): Promise<string | undefined> {
  if (passphraseFile === undefined) return passphrase;
  if (passphrase !== undefined)
    throw new InvalidOptionsError('verify', [
      { path: '--passphrase-file', message: 'contradicts --passphrase: give one of them' },
    ]);
  return (await readPassphrase('verify', passphraseFile, '--passphrase-file')).toString('utf8');
}

/** What stands before the last "=" that has none before it in a pattern: a pattern may hold one as "\\=". */
function parseAnswers(answers: readonly string[]): BootAnswer[] {
  return answers.map((answer, index) => {
    const wrong = (message: string, cause?: unknown): InvalidOptionsError =>
      new InvalidOptionsError('verify', [{ path: `--answer (number ${index + 1})`, message }], { cause });
    const [, pattern, text] = /^((?:\\.|[^=\\])+)=(.*)$/s.exec(answer) ?? [];
    if (pattern === undefined || text === undefined) throw wrong(`"${answer}" is not PATTERN=TEXT`);
    try {
      return { pattern: new RegExp(pattern), text };
    } catch (cause) {
      throw wrong(`"${pattern}" is not a regular expression`, cause);
    }
  });
}

/** One file for each boot: where there are several, the firmware stands before the extension. */
function logFileOf(file: string | undefined, firmware: string, boots: number): string | undefined {
  if (file === undefined || boots < 2 || file.startsWith('/dev/')) return file;
  const extension = extname(file);
  return `${file.slice(0, file.length - extension.length)}-${firmware}${extension}`;
}

/** Bytes of a console as lines for a person's terminal, on which they must not act. */
class ConsoleLines {
  readonly #onLine: (line: string) => void;
  readonly #decoder = new TextDecoder();
  #rest = '';

  constructor(onLine: (line: string) => void) {
    this.#onLine = onLine;
  }

  push(data: Uint8Array): void {
    const lines = (this.#rest + this.#decoder.decode(data, { stream: true })).split(/\r*\n/);
    this.#rest = (lines.pop() ?? '').slice(-LONGEST_LINE);
    for (const line of lines) this.#show(line);
  }

  end(): void {
    if (this.#rest !== '') this.#show(this.#rest);
    this.#rest = '';
  }

  #show(line: string): void {
    this.#onLine(printable(line));
  }
}

const LONGEST_LINE = 4096;

/** A line without what a terminal would act on. */
function printable(line: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: this is what is removed.
  return stripVTControlCharacters(line).replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, '');
}

function whyNot({ table, partitions, filesystem, findings }: ImageInspection): string {
  if (table === 'none' && partitions.length === 0 && filesystem === undefined)
    return 'it has neither a partition table nor a filesystem; is it a disk image?';
  if (table === 'none' && filesystem !== undefined && findings.length === 0)
    return `it is ${filesystem.type} without a partition table, which no firmware starts`;
  const reasons = findings.map(({ message }) => message);
  return reasons.length > 0 ? reasons.join('; ') : table === 'none' ? 'it has no partition table' : 'it has no loader';
}
