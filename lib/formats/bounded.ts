/** Converts a count read from an image to bytes, clamped to 0 … Number.MAX_SAFE_INTEGER, so that later arithmetic never
 *  meets NaN, a negative size or a RangeError. */
export function boundedBytes(count: bigint | number, unitBytes: number): number {
  const bytes = BigInt(count) * BigInt(unitBytes);
  if (bytes <= 0n) return 0;
  return bytes > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : Number(bytes);
}

/** Clamps a number of bytes to 0 … `all`. */
export function boundedBy(bytes: number, all: number): number {
  return Math.max(0, Math.min(bytes, all));
}
