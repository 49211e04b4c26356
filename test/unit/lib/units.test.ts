import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  bytesToSectors,
  formatBytes,
  formatDuration,
  parseIecSize,
  roundDown,
  roundUp,
  sectorsToBytes,
} from '../../../lib/units.ts';

test.each([
  ['512M', 512 * 1024 ** 2],
  ['1.5G', 1.5 * 1024 ** 3],
  ['4096', 4096],
  ['8MiB', 8 * 1024 ** 2],
  ['1KB', 1024],
  ['0.3K', 308],
  [4096, 4096],
  [0, 0],
])('parses the IEC size %s', (text, bytes) => {
  expect(parseIecSize(text)).toBe(bytes);
});

test.each(['', 'M', '12X', '-1', '1e3', '512 M', '99999999P', Number.NaN, -1, 1.5])('refuses %s as a size', (text) => {
  expect(parseIecSize(text)).toBeUndefined();
});

test('rounding gives the next multiples of the unit', () => {
  fc.assert(
    fc.property(fc.nat(2 ** 40), fc.integer({ min: 1, max: 2 ** 20 }), (value, unit) => {
      const up = roundUp(value, unit);
      const down = roundDown(value, unit);
      expect(up % unit).toBe(0);
      expect(down % unit).toBe(0);
      expect(down).toBeLessThanOrEqual(value);
      expect(up).toBeGreaterThanOrEqual(value);
      expect(up - down).toBeLessThanOrEqual(unit);
    }),
  );
});

test('sectors and bytes convert both ways, and partial sectors are refused', () => {
  fc.assert(fc.property(fc.nat(2 ** 40), (sectors) => bytesToSectors(sectorsToBytes(sectors)) === sectors));
  expect(() => bytesToSectors(513)).toThrow(RangeError);
});

test('formats sizes and durations for people', () => {
  expect(formatBytes(37)).toBe('37 B');
  expect(formatBytes(512 * 1024 ** 2)).toBe('512 MiB');
  expect(formatBytes(1.44 * 1024 ** 3)).toBe('1.4 GiB');
  expect(formatDuration(340)).toBe('340 ms');
  expect(formatDuration(4230)).toBe('4.2 s');
  expect(formatDuration(125_000)).toBe('2 min 5 s');
});
