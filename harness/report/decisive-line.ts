import { KERNEL_PREFIX } from '../verdict/stages.ts';
import type { BootFailure, BootReport } from '../verify/boot-report.ts';

/** Shorter ones are in every sentence. */
const SHORTEST = 6;

const OF_KERNEL = new RegExp(KERNEL_PREFIX);

/** What the console showed at the end of a boot that failed, and which line of it the cause quotes: its index, or undefined. */
export function failedConsole(
  { console }: BootReport,
  { cause, lastLines }: BootFailure,
): { readonly lines: readonly string[]; readonly decisive: number | undefined } {
  const lines = lastLines.length > 0 ? lastLines : console;
  const quoted = lines.map((line) => line.replace(OF_KERNEL, '').trim());
  const longest = Math.max(...quoted.map((line) => (cause.includes(line) ? line.length : 0)), 0);
  const decisive = quoted.findLastIndex((line) => line.length === longest && cause.includes(line));
  return { lines, decisive: longest < SHORTEST ? undefined : decisive };
}
