import { expect, test } from 'vitest';
import { transferText } from '../../../cli/transfer.ts';
import { GIB, MIB } from '../../../lib/units.ts';

const half = { doneBytes: 512 * MIB, totalBytes: GIB, elapsedMs: 4000 };

test.each([
  [80, `${'█'.repeat(15)}${'░'.repeat(15)}  50%  512 MiB/1 GiB  128 MiB/s  ETA 4 s`],
  [50, `${'█'.repeat(5)}${'░'.repeat(5)}  50%  512 MiB/1 GiB  128 MiB/s  ETA 4 s`],
  [40, '50%  512 MiB/1 GiB  128 MiB/s  ETA 4 s'],
])('in %d columns: %s', (columns, text) => {
  expect(transferText(half, columns)).toBe(text);
});

test('no rate and no time left before there is something to tell them by', () => {
  expect(transferText({ ...half, elapsedMs: 100 }, 20)).toBe('50%  512 MiB/1 GiB');
  expect(transferText({ ...half, doneBytes: 0 }, 20)).toBe('0%  0 B/1 GiB');
});

test('a long time, nothing at all, and more than there was to be', () => {
  expect(transferText({ doneBytes: MIB, totalBytes: GIB, elapsedMs: 1000 }, 0)).toContain('ETA 17 min 3 s');
  expect(transferText({ doneBytes: 0, totalBytes: 0, elapsedMs: 0 }, 0)).toBe('100%  0 B/0 B');
  expect(transferText({ doneBytes: 2 * GIB, totalBytes: GIB, elapsedMs: 1000 }, 60)).toMatch(/^█+ 100%/);
});
