import { expect, test } from 'vitest';
import { type ConsoleLine, excerptConsole } from '../../../../harness/report/page/console-excerpt.ts';
import { healthyConsole } from '../../../helpers/boot-reports.ts';

const ROOM = { lines: 5000, characters: 1_000_000 };

function linesOf({ sections }: ReturnType<typeof excerptConsole>): ConsoleLine[] {
  return sections.flatMap(({ entries }) => entries).filter((entry) => 'number' in entry);
}

test('a real boot is in sections by its stages, with all of its lines', () => {
  const console = healthyConsole('debian-12-bios');
  const excerpt = excerptConsole(console, undefined, ROOM);
  expect(excerpt.sections.map(({ stage }) => stage)).toEqual([
    'firmware',
    'loader',
    'kernel',
    'stage 1',
    'stage 2',
    'init',
  ]);
  expect(linesOf(excerpt).map(({ text }) => text)).toEqual(console);
  expect(linesOf(excerpt).map(({ number }) => number)).toEqual(console.map((_, index) => index + 1));
  expect(excerpt.omitted).toBe(0);
  expect(excerpt.decisive).toBeUndefined();
});

test('where the kernel was silent for long is said', () => {
  const lines = linesOf(
    excerptConsole(['[    1.000000] a', 'b', '[    1.500000] c', '[    4.000000] d'], undefined, ROOM),
  );
  expect(lines.map(({ pauseMs }) => pauseMs)).toEqual([undefined, undefined, undefined, 2500]);
});

test('the last line that has what decided is marked', () => {
  const excerpt = excerptConsole(['panic', '[  1.0] panic ', 'end'], 'panic\r', ROOM);
  expect(excerpt.decisive).toBe(2);
  expect(linesOf(excerpt).map(({ isDecisive }) => isDecisive)).toEqual([false, true, false]);
  expect(excerptConsole(['a'], 'b', ROOM).decisive).toBeUndefined();
  expect(excerptConsole(['a'], '  ', ROOM).decisive).toBeUndefined();
});

test('of more than there is room for, the line that decided and the end are kept, and the rest is counted', () => {
  const console = Array.from({ length: 100_000 }, (_, index) => `line ${index + 1}!`);
  const excerpt = excerptConsole(console, 'line 5000!', { lines: 1000, characters: 1_000_000 });
  const numbers = linesOf(excerpt).map(({ number }) => number);
  expect(numbers).toHaveLength(1000);
  expect(numbers).toEqual(expect.arrayContaining([4990, 5000, 5010, 100_000]));
  expect(excerpt.omitted).toBe(99_000);
  expect(excerpt.sections[0]?.entries[0]).toEqual({ omitted: 4959 });
});

test('characters are bounded too, and a long line is cut', () => {
  const console = Array.from({ length: 100 }, () => 'x'.repeat(100_000));
  const lines = linesOf(excerptConsole(console, undefined, { lines: 1000, characters: 20_000 }));
  expect(lines).toHaveLength(10);
  expect(lines[0]?.text).toHaveLength(2000);
  expect(lines[0]?.cutCharacters).toBe(98_000);
});
