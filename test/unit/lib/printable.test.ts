import { expect, test } from 'vitest';
import { printable, printableJson, printableLines } from '../../../lib/printable.ts';

test('control characters are shown as escapes', () => {
  expect(printable('\u001b[2Jred\u009b31m\u202e')).toBe('\\x1b[2Jred\\x9b31m\\u202e');
  expect(printable('a\nb\tc\r')).toBe('a\\nb\\tc\\r');
  expect(printable('ESP "größe" ❯')).toBe('ESP "größe" ❯');
});

test('newlines are kept', () => {
  expect(printableLines('a\n\tb\u0007')).toBe('a\n\tb\\x07');
});

test('JSON stays valid and has no control characters', () => {
  const value = { title: 'a\u009b\u007f\u202e\u001b\nb' };
  const text = printableJson(value);
  expect(text).toMatch(/^[ -~\n]*$/);
  expect(JSON.parse(text)).toEqual(value);
});
