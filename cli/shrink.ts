import { stat } from 'node:fs/promises';
import { printable, printableJson } from '../lib/printable.ts';
import { shrinkImage } from '../lib/steps/shrink-image.ts';
import { formatBytes } from '../lib/units.ts';
import { EXIT } from './exit-codes.ts';

interface ShrinkFlags {
  readonly additionalSpace?: string;
  readonly json?: boolean;
}

/** Shrinks an image, and prints its sizes. */
export async function shrinkCommand(image: string, flags: ShrinkFlags, signal: AbortSignal): Promise<number> {
  const { additionalSpace } = flags;
  const before = await stat(image).catch(() => undefined);
  const shrunk = await shrinkImage({ image, additionalSpace }, { signal });
  const { virtualBytes, freeBytes } = shrunk;
  const sizes =
    before?.size === virtualBytes
      ? `${formatBytes(virtualBytes)}, no smaller than before`
      : `${formatBytes(before?.size ?? 0)} before, ${formatBytes(virtualBytes)} now`;
  process.stdout.write(
    flags.json === true
      ? `${printableJson(shrunk)}\n`
      : `${printable(image)}: ${sizes}; ${formatBytes(freeBytes)} free in its filesystem\n`,
  );
  return EXIT.good;
}
