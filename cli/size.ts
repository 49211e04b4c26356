import { printableJson } from '../lib/printable.ts';
import { measureClosure } from '../lib/steps/measure-closure.ts';
import { formatBytes } from '../lib/units.ts';
import { EXIT } from './exit-codes.ts';

interface SizeFlags {
  readonly store?: string;
  readonly additionalPaths?: readonly string[];
  readonly top: number;
  readonly json?: boolean;
}

/** Prints how much a system takes in an image, and its largest store paths. */
export async function sizeCommand(toplevel: string, flags: SizeFlags, signal: AbortSignal): Promise<number> {
  const { store, additionalPaths } = flags;
  const size = await measureClosure({ toplevel, store, additionalPaths: [...(additionalPaths ?? [])] }, { signal });
  if (flags.json === true) {
    process.stdout.write(`${printableJson(size)}\n`);
    return EXIT.good;
  }
  const { storePaths, sizeBytes, entries } = size;
  const shown = storePaths.slice(0, flags.top);
  const rest = storePaths.slice(flags.top).reduce((sum, one) => sum + one.sizeBytes, 0);
  const lines = [
    `${formatBytes(sizeBytes)} in ${storePaths.length} store paths, ${entries} files, directories and links`,
    '',
    ...shown.map((one) => `${formatBytes(one.sizeBytes).padStart(9)}  ${one.path}`),
    ...(shown.length < storePaths.length
      ? [`${formatBytes(rest).padStart(9)}  ${storePaths.length - shown.length} others`]
      : []),
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
  return EXIT.good;
}
