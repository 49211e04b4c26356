import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Sharer, shareOut } from '../../../../lib/formats/partition-table/share.ts';

const share = (sharers: Partial<Sharer>[], span: number, grain = 1): number[] =>
  shareOut(
    sharers.map((one) => ({ leastBytes: 0, weight: 0, ...one })),
    span,
    grain,
  );

test.each<[string, Partial<Sharer>[], number, number[]]>([
  ['by weight', [{ weight: 1 }, { weight: 3 }], 100, [25, 75]],
  ['the last gets what rounding leaves', [{ weight: 1 }, { weight: 1 }, { weight: 1 }], 100, [33, 33, 34]],
  ['without a weight, the least', [{ leastBytes: 10 }, { weight: 5 }], 100, [10, 90]],
  ['at least the least, which the others make up for', [{ leastBytes: 80, weight: 1 }, { weight: 1 }], 100, [80, 20]],
  ['at most the most', [{ mostBytes: 10, weight: 9 }, { weight: 1 }], 100, [10, 90]],
  ['nothing is shared that nobody may have', [{ mostBytes: 10, weight: 1 }, { leastBytes: 5 }], 100, [10, 5]],
  [
    'the rest for the first that may grow',
    [
      { mostBytes: 10, weight: 99 },
      { leastBytes: 9, weight: 1 },
    ],
    100,
    [10, 90],
  ],
  [
    'but not for free space',
    [
      { leastBytes: 9, weight: 1, isPadding: true },
      { mostBytes: 10, weight: 99 },
    ],
    100,
    [9, 10],
  ],
  ['too little for all', [{ leastBytes: 80 }, { leastBytes: 80, weight: 1 }], 100, [80, 80]],
])('%s', (_, sharers, span, expected) => {
  expect(share(sharers, span)).toEqual(expected);
});

test('no one gets less than the least or more than the most, and all fits that can', () => {
  const sharer = fc.record({
    leastBytes: fc.nat(20).map((blocks) => blocks * 4096),
    more: fc.option(fc.nat(20), { nil: undefined }),
    weight: fc.nat(5),
  });
  fc.assert(
    fc.property(fc.array(sharer, { minLength: 1, maxLength: 9 }), fc.nat(400), (drawn, blocks) => {
      const sharers = drawn.map(({ leastBytes, more, weight }) => ({
        ...{ leastBytes, weight },
        mostBytes: more === undefined ? undefined : leastBytes + more * 4096,
      }));
      const span = blocks * 4096;
      const sizes = shareOut(sharers, span, 4096);
      for (const [index, { leastBytes, mostBytes = Infinity }] of sharers.entries()) {
        expect(sizes[index]).toBeGreaterThanOrEqual(leastBytes);
        expect(sizes[index]).toBeLessThanOrEqual(mostBytes);
        expect((sizes[index] ?? 0) % 4096).toBe(0);
      }
      const total = sizes.reduce((sum, bytes) => sum + bytes, 0);
      const least = sharers.reduce((sum, { leastBytes }) => sum + leastBytes, 0);
      expect(total).toBeLessThanOrEqual(Math.max(span, least));
      if (least <= span && sharers.some(({ weight, mostBytes }) => weight > 0 && mostBytes === undefined))
        expect(total).toBe(span);
    }),
  );
});
