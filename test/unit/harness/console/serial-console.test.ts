import { expect, test } from 'vitest';
import { SerialConsole } from '../../../../harness/console/serial-console.ts';

const bytes = (text: string): Uint8Array => Buffer.from(text);

test('text has no escape sequences, also if one arrives in two chunks', () => {
  const console = new SerialConsole(() => {});
  for (const piece of ['a\u001b[', '1;31mred\u001b', '[0m\r\n', '\u001b]0;title\u0007b']) console.feed(bytes(piece));
  expect(console.text).toBe('ared\nb');
});

test('a UTF-8 character that arrives in two chunks is decoded', () => {
  const console = new SerialConsole(() => {});
  const encoded = Buffer.from('ä');
  console.feed(encoded.subarray(0, 1));
  console.feed(encoded.subarray(1));
  expect(console.text).toBe('ä');
});

test('matching only moves forward', () => {
  const console = new SerialConsole(() => {});
  console.feed(bytes('one two one'));
  expect(console.take(/one/)?.index).toBe(0);
  expect(console.take(/one/)).toBeDefined();
  expect(console.take(/one/)).toBeUndefined();
});

test('matching works after megabytes of discarded text', () => {
  const console = new SerialConsole(() => {});
  for (let i = 0; i < 300; i += 1) console.feed(bytes('x'.repeat(10_000)));
  console.feed(bytes('needle'));
  expect(console.text.length).toBeLessThan(2.1 * 1024 * 1024);
  expect(console.take(/needle/)).toBeDefined();
});

test('queries from the guest to its terminal are answered', async () => {
  const answers: string[] = [];
  const console = new SerialConsole((data) => answers.push(data));
  console.feed(bytes('\u001b[6n\u001b[c\u001b[18t'));
  await console.lastLines(1);
  expect(answers.join('')).toContain('\u001b[1;1R');
  expect(answers.join('')).toMatch(/\[\?[\d;]+c/);
  expect(answers.join('')).toContain('\u001b[8;50;200t');
});

test('the last lines are those that a terminal displays', async () => {
  const console = new SerialConsole(() => {});
  console.feed(bytes('first\r\nwrong\rright\r\n\u001b[31mred\u001b[0m\r\n\r\n'));
  expect(await console.lastLines(2)).toEqual(['right', 'red']);
});
