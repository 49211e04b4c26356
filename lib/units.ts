/** Conversions between bytes, 512-byte sectors, KiB, MiB and IEC size strings. */

export const SECTOR_BYTES = 512;
export const KIB = 1024;
export const MIB = 1024 ** 2;
export const GIB = 1024 ** 3;

const IEC_FACTORS: Readonly<Record<string, number>> = {
  '': 1,
  K: KIB,
  M: MIB,
  G: GIB,
  T: 1024 ** 4,
  P: 1024 ** 5,
};

const IEC_SIZE = /^(\d+(?:\.\d+)?)([KMGTP]?)(?:i?B)?$/;

/** Parses an IEC size into bytes: `"512M"`, `"1.5G"`, `"4096"`, or a number of bytes. Rounds a fraction up to a whole
 *  byte, like `numfmt --from=iec`.
 *  @returns `undefined` when the text is not a size, or exceeds Number.MAX_SAFE_INTEGER.
 *  @see numfmt(1) */
export function parseIecSize(size: string | number): number | undefined {
  if (typeof size === 'number') return Number.isSafeInteger(size) && size >= 0 ? size : undefined;
  const match = IEC_SIZE.exec(size);
  if (match === null) return undefined;
  const bytes = Math.ceil(Number(match[1]) * (IEC_FACTORS[match[2] ?? ''] ?? Number.NaN));
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** Rounds `value` up to a multiple of `unit`. */
export function roundUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}

/** Rounds `value` down to a multiple of `unit`. */
export function roundDown(value: number, unit: number): number {
  return Math.floor(value / unit) * unit;
}

/** Converts 512-byte sectors, the unit of partition tables, to bytes. */
export function sectorsToBytes(sectors: number): number {
  return sectors * SECTOR_BYTES;
}

/** Converts bytes to sectors, of 512 bytes unless another size is given.
 *  @throws {RangeError} when `bytes` is not a multiple of the sector size. */
export function bytesToSectors(bytes: number, sectorBytes: number = SECTOR_BYTES): number {
  if (bytes % sectorBytes !== 0)
    throw new RangeError(`${bytes} bytes is not a multiple of ${sectorBytes}-byte sectors`);
  return bytes / sectorBytes;
}

/** Formats a size for display: `"1.4 GiB"`, `"512 MiB"`, `"37 B"`. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let value = bytes;
  let unit = 0;
  while (Math.abs(value) >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || value >= 100 || Number.isInteger(value) ? 0 : 1;
  return `${value.toFixed(digits)} ${units[unit]}`;
}

/** Formats a time in UTC: `"2026-01-31 12:00:00"`. @param seconds since 1970 */
export function formatTime(seconds: number): string {
  return new Date(seconds * 1000).toISOString().replace('T', ' ').slice(0, 19);
}

/** Formats a duration for display: `"340 ms"`, `"4.2 s"`, `"2 min 5 s"`. */
export function formatDuration(milliseconds: number): string {
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`;
  if (milliseconds < 120_000) return `${(milliseconds / 1000).toFixed(1)} s`;
  const seconds = Math.round(milliseconds / 1000);
  return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}
