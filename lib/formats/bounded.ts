/** A number of units out of an image, in bytes. What a double does not count exactly is the most that it does: no arithmetic
 *  behind this meets NaN, a negative size or a RangeError. */
export function boundedBytes(count: bigint | number, unitBytes: number): number {
  const bytes = BigInt(count) * BigInt(unitBytes);
  if (bytes <= 0n) return 0;
  return bytes > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : Number(bytes);
}

/** A number of bytes of which there cannot be more than there are altogether. */
export function boundedBy(bytes: number, all: number): number {
  return Math.max(0, Math.min(bytes, all));
}
