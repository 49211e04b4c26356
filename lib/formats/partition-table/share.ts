/** A partition, or free space after one, whose size is to be found. */
export interface Sharer {
  readonly leastBytes: number;
  /** Undefined for no limit. */
  readonly mostBytes?: number | undefined;
  readonly weight: number;
  /** Free space: it never gets what the shares leave over. */
  readonly isPadding?: boolean | undefined;
}

/** Shares space out by weight, like systemd-repart: a partition gets its share, but at least `leastBytes` and at most `mostBytes`,
 *  which the others make up for. Sizes are multiples of `grainBytes`, which the limits are as well.
 *  @returns the size of each. Their sum is more than `spanBytes` if that is too little for all.
 *  @see repart.d(5), Weight= */
export function shareOut(sharers: readonly Sharer[], spanBytes: number, grainBytes: number): number[] {
  const sizes = new Map<number, number>();
  let span = spanBytes;
  let weights = sharers.reduce((sum, { weight }) => sum + weight, 0);
  const shareOf = (weight: number): number => (weight === 0 ? 0 : Math.floor((span * weight) / weights));
  const fix = (index: number, bytes: number): void => {
    sizes.set(index, bytes);
    span -= bytes;
    weights -= sharers[index]?.weight ?? 0;
  };
  // Each size that is fixed changes the shares of the others.
  const fixEach = (bytesFor: (one: Sharer) => number | undefined): void => {
    for (let isChanged = true; isChanged; ) {
      isChanged = false;
      for (const [index, one] of sharers.entries()) {
        const bytes = sizes.has(index) ? undefined : bytesFor(one);
        if (bytes === undefined) continue;
        fix(index, bytes);
        isChanged = true;
      }
    }
  };
  fixEach(({ leastBytes, weight }) => (leastBytes > shareOf(weight) ? leastBytes : undefined));
  fixEach(({ mostBytes, weight }) => (mostBytes !== undefined && mostBytes < shareOf(weight) ? mostBytes : undefined));
  for (const [index, { leastBytes, weight }] of sharers.entries())
    if (!sizes.has(index)) fix(index, Math.max(Math.floor(shareOf(weight) / grainBytes) * grainBytes, leastBytes));
  // Where all shares were too small or too large, the first one that may grow gets the rest.
  for (const [index, { mostBytes = Number.POSITIVE_INFINITY, weight, isPadding }] of sharers.entries()) {
    const bytes = sizes.get(index) ?? 0;
    const more = Math.min(Math.floor(Math.max(span, 0) / grainBytes) * grainBytes, mostBytes - bytes);
    if (weight === 0 || isPadding === true || more <= 0) continue;
    sizes.set(index, bytes + more);
    span -= more;
  }
  return sharers.map((_, index) => sizes.get(index) ?? 0);
}
