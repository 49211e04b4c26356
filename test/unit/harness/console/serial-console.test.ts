import { expect, test } from 'vitest';
import { SerialConsole } from '../../../../harness/console/serial-console.ts';

const bytes = (text: string): Uint8Array => Buffer.from(text);

test('text is without escape sequences, also when they come cut in two', () => {
  const console = new SerialConsole(() => {});
  for (const piece of ['a\u001b[', '1;31mred\u001b', '[0m\r\n', '\u001b]0;title\u0007b']) console.feed(bytes(piece));
  expect(console.text).toBe('ared\nb');
});

test('UTF-8 cut in two is one character', () => {
  const console = new SerialConsole(() => {});
  const encoded = Buffer.from('ä');
  console.feed(encoded.subarray(0, 1));
  console.feed(encoded.subarray(1));
  expect(console.text).toBe('ä');
});

test('matching goes forward', () => {
  const console = new SerialConsole(() => {});
  console.feed(bytes('one two one'));
  expect(console.take(/one/)?.index).toBe(0);
  expect(console.take(/one/)).toBeDefined();
  expect(console.take(/one/)).toBeUndefined();
});

test('matching still works behind megabytes that were forgotten', () => {
  const console = new SerialConsole(() => {});
  for (let i = 0; i < 300; i += 1) console.feed(bytes('x'.repeat(10_000)));
  console.feed(bytes('needle'));
  expect(console.text.length).toBeLessThan(2.1 * 1024 * 1024);
  expect(console.take(/needle/)).toBeDefined();
});

test('a guest’s questions to its terminal are answered', async () => {
  const answers: string[] = [];
  const console = new SerialConsole((data) => answers.push(data));
  console.feed(bytes('\u001b[6n\u001b[c\u001b[18t'));
  await console.lastLines(1);
  expect(answers.join('')).toContain('\u001b[1;1R');
  expect(answers.join('')).toMatch(/\[\?[\d;]+c/);
  expect(answers.join('')).toContain('\u001b[8;50;200t');
});

test('last lines are what a person would have seen', async () => {
  const console = new SerialConsole(() => {});
  console.feed(bytes('first\r\nwrong\rright\r\n\u001b[31mred\u001b[0m\r\n\r\n'));
  expect(await console.lastLines(2)).toEqual(['right', 'red']);
});
