import { type ImageInspection, type InspectedPartition, inspectImage } from '../lib/inspect/inspect-image.ts';
import { formatBytes } from '../lib/units.ts';
import { EXIT } from './exit-codes.ts';

/** Says what is on an image. */
export async function inspectCommand(
  image: string,
  flags: { readonly json?: boolean },
  signal: AbortSignal,
): Promise<number> {
  const inspection = await inspectImage({ image }, { signal });
  process.stdout.write(
    flags.json === true ? `${JSON.stringify(inspection, undefined, 2)}\n` : `${renderInspection(inspection)}\n`,
  );
  return inspection.findings.some(({ severity }) => severity === 'fatal') ? EXIT.wrong : EXIT.good;
}

const COLUMNS = 76;

/** The disk as a picture, and what is on it, for a terminal. */
export function renderInspection(inspection: ImageInspection): string {
  const { image, format, virtualBytes, table, partitions, filesystem, bios, efi, findings } = inspection;
  const lines = [
    `${image}  ${format}, ${formatBytes(virtualBytes)}, ${tableName(table)}`,
    '',
    ...picture(inspection),
    '',
  ];
  for (const part of partitions) lines.push(partitionLine(part));
  if (filesystem !== undefined) lines.push(`  whole disk  ${filesystemText(filesystem)}`);
  lines.push(
    '',
    `  BIOS  ${bios.loader === 'none' ? 'nothing to start' : bios.loader === 'grub' ? 'GRUB' : 'a boot sector of another loader'}`,
  );
  lines.push(`  EFI   ${efi.loaders.length === 0 ? 'nothing to start' : efi.loaders.join(', ')}`);
  for (const { file, title, version, linux } of efi.entries)
    lines.push(`  entry ${[title, version].filter((text) => text !== '').join(' ')}  ${linux}  (${file})`);
  for (const { system, number, isDefault } of inspection.generations)
    lines.push(`  generation ${number}${isDefault ? ' (default)' : ''}  ${system}`);
  if (inspection.storePaths !== undefined) lines.push(`  Nix store: ${inspection.storePaths} paths`);
  for (const { severity, message } of findings) lines.push(`  ${severity.padEnd(7)}  ${message}`);
  return lines.join('\n');
}

function tableName(table: ImageInspection['table']): string {
  return { gpt: 'GPT', msdos: 'MBR', none: 'no partition table' }[table];
}

/** A box for each partition, as wide as its share; the smallest still has room for its number. */
function picture({ partitions, virtualBytes }: ImageInspection): string[] {
  if (partitions.length === 0) return [`  [${' '.repeat(COLUMNS)}]`];
  const ordered = [...partitions].sort((a, b) => a.offsetBytes - b.offsetBytes);
  const cells = ordered.map((part) => {
    const width = Math.max(4, Math.round((part.sizeBytes / virtualBytes) * COLUMNS));
    const label = `${part.number} ${part.filesystem?.label || (part.purpose ?? '')}`.slice(0, width - 1);
    const fill =
      part.filesystem?.sizeBytes !== undefined && part.filesystem.freeBytes !== undefined
        ? 1 - part.filesystem.freeBytes / part.filesystem.sizeBytes
        : undefined;
    const used = fill === undefined ? 0 : Math.round(fill * width);
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
  const { number, offsetBytes, sizeBytes, purpose, name, filesystem } = part;
  const where = `${formatBytes(sizeBytes)} at ${formatBytes(offsetBytes)}`;
  const what = filesystem === undefined ? '' : filesystemText(filesystem);
  return `  ${number}  ${where.padEnd(26)} ${(purpose ?? part.type).padEnd(9)} ${name === '' ? '' : `"${name}" `} ${what}`.trimEnd();
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
