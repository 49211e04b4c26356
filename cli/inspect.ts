import { mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { renderInspectionSarif } from '../harness/report/sarif.ts';
import { requireNewFile } from '../lib/host-files/given-paths.ts';
import { hostHasNoRoom } from '../lib/host-files/room.ts';
import { type ImageInspection, inspectImage } from '../lib/inspect/inspect-image.ts';
import type { InspectedPartition } from '../lib/inspect/inspected-partition.ts';
import { type RepartDefinition, repartDefinitions } from '../lib/inspect/repart-definitions.ts';
import { printable, printableJson } from '../lib/printable.ts';
import { isErrno, wordsFor } from '../lib/run/errno.ts';
import { InvalidOptionsError } from '../lib/run/errors.ts';
import { formatBytes, SECTOR_BYTES } from '../lib/units.ts';
import { coloured } from './colours.ts';
import { EXIT } from './exit-codes.ts';
import { checkOutputs, writeOutput } from './output-files.ts';
import { packageVersion } from './version.ts';

export interface InspectFlags {
  readonly json?: boolean;
  readonly deep?: boolean;
  readonly timeout?: number;
  readonly sarif?: string;
  readonly efiVars?: string;
  readonly passphraseFile?: string;
  readonly repart?: string;
}

/** Says what is on an image. */
export async function inspectCommand(image: string, flags: InspectFlags, signal: AbortSignal): Promise<number> {
  await checkOutputs(
    'inspect',
    { '--sarif': flags.sarif },
    {
      'the image': image,
      'the file of --efi-vars': flags.efiVars,
      'the file of --passphrase-file': flags.passphraseFile,
    },
  );
  if (flags.repart !== undefined) await requireNewFile('inspect', flags.repart, '--repart');
  const timeoutMs = flags.timeout === undefined ? undefined : flags.timeout * 1000;
  const inspection = await inspectImage(
    { image, deep: flags.deep, timeoutMs, efiVariables: flags.efiVars, passphraseFile: flags.passphraseFile },
    { signal },
  );
  const definitions = flags.repart === undefined ? [] : repartDefinitions(inspection);
  process.stdout.write(`${flags.json === true ? printableJson(inspection) : coloured(renderInspection(inspection))}\n`);
  if (flags.repart !== undefined) await writeDefinitions(flags.repart, definitions);
  if (flags.sarif !== undefined)
    await writeOutput(
      'inspect',
      '--sarif',
      flags.sarif,
      renderInspectionSarif({ ...inspection, image }, await packageVersion()),
    );
  return inspection.findings.some(({ severity }) => severity === 'fatal') ? EXIT.wrong : EXIT.good;
}

/** Writes all definitions into a new directory, or leaves none. */
async function writeDefinitions(directory: string, definitions: readonly RepartDefinition[]): Promise<void> {
  let isMade = false;
  try {
    await mkdir(directory);
    isMade = true;
    for (const { name, text } of definitions) await writeFile(join(directory, name), text);
  } catch (cause) {
    if (isMade) await rm(directory, { recursive: true, force: true });
    if (isErrno(cause, 'ENOSPC') || isErrno(cause, 'EDQUOT'))
      throw await hostHasNoRoom('inspect', dirname(directory), undefined, { cause });
    const message = `${directory} cannot be written: ${wordsFor(cause)}`;
    throw new InvalidOptionsError('inspect', [{ path: '--repart', message }], { cause });
  }
}

const COLUMNS = 76;
/** Lines of each kind; `--json` has more. */
const SHOWN = 64;
const LONGEST_LINE = 400;

/** The disk as a picture, and what is on it, for a terminal. What a terminal would obey in names out of the image is escaped. */
export function renderInspection(inspection: ImageInspection): string {
  const { image, format, virtualBytes, partitions, filesystem, bios, efi, findings } = inspection;
  const lines = [
    `${image}  ${format}, ${formatBytes(virtualBytes)}, ${tableName(inspection)}`,
    '',
    ...picture(inspection),
    '',
    ...some(partitions.map(partitionLine)),
    ...(filesystem === undefined
      ? []
      : [
          `  whole disk  ${inspection.encryption === undefined ? filesystemText(filesystem) : encryptionText(inspection.encryption)}`,
        ]),
    '',
    `  BIOS  ${bios.loader === 'none' ? 'nothing to start' : bios.loader === 'grub' ? 'GRUB' : 'a boot sector of another loader'}`,
    ...efiLines(efi),
    ...some(
      efi.bootEntries.map(
        ({ file, title, version, linux, isDefault }) =>
          `  entry${isDefault ? ' (default)' : ''} ${[title, version].filter((text) => text !== '').join(' ')}  ${linux}  (${file})`,
      ),
    ),
    ...some(
      inspection.generations.map(
        ({ toplevel, number, isDefault }) => `  generation ${number}${isDefault ? ' (default)' : ''}  ${toplevel}`,
      ),
    ),
    ...(inspection.storePaths === undefined ? [] : [`  Nix store: ${inspection.storePaths} paths`]),
    ...some(findings.map(({ severity, message }) => `  ${severity.padEnd(7)}  ${message}`)),
  ];
  return lines.map(printable).join('\n');
}

function some(lines: readonly string[]): string[] {
  const shown = lines
    .slice(0, SHOWN)
    .map((line) => (line.length > LONGEST_LINE ? `${line.slice(0, LONGEST_LINE)} …` : line));
  return lines.length > SHOWN ? [...shown, `  … and ${lines.length - SHOWN} more`] : shown;
}

/** What is started, and what it is; the other loaders by their names. */
function efiLines({ started, loaders, programs }: ImageInspection['efi']): string[] {
  if (started === undefined && loaders.length === 0) return ['  EFI   nothing to start'];
  const describe = (path: string): string => {
    const program = programs.find(({ file }) => file === path);
    if (program === undefined) return path;
    const facts = [
      ...(program.kind === 'other' ? [] : [program.kind]),
      program.architecture,
      ...signatureWords(program),
      ...(program.complete ? [] : ['cut off']),
    ];
    return `${path} (${facts.join(', ')})`;
  };
  const others = loaders.filter((path) => path !== started);
  const first = started === undefined ? 'nothing is started by default' : describe(started);
  const more = others.length > 8 ? [`and ${others.length - 8} more`] : [];
  return [
    `  EFI   ${first}`,
    ...(others.length === 0
      ? []
      : [`        also there: ${[...others.slice(0, 8).map(describe), ...more].join(', ')}`]),
  ];
}

/** The signers of a program, and what firmware with Secure Boot makes of that. */
function signatureWords({ signed, signatures, trust }: ImageInspection['efi']['programs'][number]): string[] {
  const words = signatures.map(({ signer, hashMatches, isAuthentic }) =>
    hashMatches && isAuthentic ? `signed by ${signer}` : `changed after ${signer} signed it`,
  );
  const rest = signed && words.length === 0 ? ['signed'] : words;
  return trust === undefined ? rest : [...rest, trust];
}

function tableName({ table, sectorBytes }: ImageInspection): string {
  const name = { gpt: 'GPT', msdos: 'MBR', none: 'no partition table' }[table];
  return sectorBytes === SECTOR_BYTES ? name : `${name}, sectors of ${sectorBytes} bytes`;
}

/** Boxes that a terminal has room for. */
const MOST_BOXES = 16;

/** A box for each partition, as wide as its share; the smallest still has room for its number. Logical partitions are shown, not
 *  the extended one that they are in. */
function picture({ partitions, virtualBytes }: ImageInspection): string[] {
  const ordered = partitions
    .filter(({ purpose }) => purpose !== 'extended')
    .sort((a, b) => a.offsetBytes - b.offsetBytes)
    .slice(0, MOST_BOXES);
  if (ordered.length === 0) return [`  [${' '.repeat(COLUMNS)}]`];
  const cells = ordered.map((part) => {
    const share = Math.min(1, part.sizeBytes / Math.max(1, virtualBytes));
    const width = Math.max(4, Math.round(share * COLUMNS));
    const label = printable(`${part.number} ${part.filesystem?.label || (part.purpose ?? '')}`).slice(0, width - 1);
    const fill =
      part.filesystem?.sizeBytes !== undefined && part.filesystem.freeBytes !== undefined
        ? 1 - part.filesystem.freeBytes / Math.max(1, part.filesystem.sizeBytes)
        : undefined;
    const used = fill === undefined ? 0 : Math.min(width, Math.max(0, Math.round(fill * width)));
    return {
      width,
      label: ` ${label}`.padEnd(width),
      bar: fill === undefined ? '·'.repeat(width) : '█'.repeat(used) + '░'.repeat(width - used),
    };
  });
  const edge = (left: string, middle: string, right: string): string =>
    `  ${left}${cells.map(({ width }) => '─'.repeat(width)).join(middle)}${right}`;
  const row = (pick: (cell: (typeof cells)[number]) => string): string => `  │${cells.map(pick).join('│')}│`;
  return [edge('┌', '┬', '┐'), row(({ label }) => label), row(({ bar }) => bar), edge('└', '┴', '┘')];
}

function partitionLine(part: InspectedPartition): string {
  const { number, offsetBytes, sizeBytes, typeName, name, filesystem, encryption } = part;
  const where = `${formatBytes(sizeBytes)} at ${formatBytes(offsetBytes)}`;
  const what =
    encryption === undefined
      ? filesystem === undefined
        ? ''
        : filesystemText(filesystem)
      : encryptionText(encryption);
  return `  ${number}  ${where.padEnd(26)} ${(typeName ?? part.type).padEnd(9)} ${name === '' ? '' : `"${name}" `} ${what}`.trimEnd();
}

function encryptionText({
  uuid,
  label,
  keySlots,
  tokens,
  filesystem,
}: NonNullable<InspectedPartition['encryption']>): string {
  const slots = `${keySlots.length} key slot${keySlots.length === 1 ? '' : 's'}`;
  const ways = [slots, ...tokens].join(', ');
  const inside = filesystem === undefined ? '' : `, in it ${filesystemText(filesystem)}`;
  return `LUKS2 ${label === '' ? '' : `"${label}" `}${uuid} (${ways})${inside}`;
}

function filesystemText({
  type,
  label,
  uuid,
  sizeBytes,
  freeBytes,
}: NonNullable<InspectedPartition['filesystem']>): string {
  const fill =
    sizeBytes === undefined || freeBytes === undefined
      ? ''
      : `, ${formatBytes(sizeBytes - freeBytes)} used of ${formatBytes(sizeBytes)}`;
  return `${type} ${label === '' ? '' : `"${label}" `}${uuid}${fill}`;
}
