import { formatBytes, formatDuration } from '../lib/units.ts';

/** How far something is that has a known size. */
export interface Transfer {
  readonly doneBytes: number;
  readonly totalBytes: number;
  readonly elapsedMs: number;
}

const WIDEST_BAR = 30;
/** A narrower one says nothing. */
const NARROWEST_BAR = 8;
/** Before, the rate says little of the rest. */
const SETTLED_MS = 500;

/** A bar as wide as there is room for, bytes, rate and time left: `███░░░ 45%  512 MiB/1.1 GiB  210 MiB/s  ETA 3 s`.
 *  @param columns that it may take. */
export function transferText({ doneBytes, totalBytes, elapsedMs }: Transfer, columns: number): string {
  const share = totalBytes === 0 ? 1 : Math.min(1, doneBytes / totalBytes);
  const rate = (doneBytes / elapsedMs) * 1000;
  const isSettled = elapsedMs >= SETTLED_MS && rate > 0;
  const facts = [
    `${Math.floor(share * 100)}%`.padStart(5),
    `${formatBytes(doneBytes)}/${formatBytes(totalBytes)}`,
    ...(isSettled ? [`${formatBytes(rate)}/s`, `ETA ${timeLeft((totalBytes - doneBytes) / rate)}`] : []),
  ].join('  ');
  const width = Math.min(WIDEST_BAR, columns - facts.length);
  if (width < NARROWEST_BAR) return facts.trimStart();
  const full = Math.round(share * width);
  return `${'█'.repeat(full)}${'░'.repeat(width - full)}${facts}`;
}

function timeLeft(seconds: number): string {
  const whole = Math.ceil(seconds);
  return whole < 120 ? `${whole} s` : formatDuration(whole * 1000);
}
