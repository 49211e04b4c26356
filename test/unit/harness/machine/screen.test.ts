import { expect, test } from 'vitest';
import { endsWithPrompt, isPrompt } from '../../../../harness/machine/screen.ts';

// Output of tesseract 5.3.0 for Linux's framebuffer console: without a cursor, and with an underscore, a block and half a block.
test.each([
  'foreign login:',
  'foreign login: _',
  'foreign login: fj',
  'foreign login: »',
  'foreign login',
  'foreign login. ',
])('the picture ends with a login prompt: %j', (line) => {
  expect(endsWithPrompt(['Debian GNU/Linux 12 foreign ttyi', '', line, ''])).toBe(true);
});

test.each([
  ['foreign login: root', 'Password:'],
  ['[  OK  ] Started systemd-logind.service - User Login Management.'],
  ['foreign login: root', 'Last login: Sun Nov 29 14:48:47 UTC 2026 on tty1'],
  ['Waiting for the login service'],
  [],
])('the picture does not end with a login prompt', (...lines) => {
  expect(endsWithPrompt(lines)).toBe(false);
});

// As seen: the kernel printed into the prompt, and the console wrapped its line.
const WITH_KERNEL = [
  'foreign login: [    1.857023] tsc: Refined TSC clocksource calibration: 2596.120',
  ' MHz',
  '[    1.857427] clocksource: tsc: mask: 0xffffffffffffffff max_cycles: 0x256bead1',
];

test('the kernel may print into a login prompt', () => {
  expect(endsWithPrompt(WITH_KERNEL)).toBe(true);
  expect(endsWithPrompt(['foreign login: [ 1,857023] tsc: Refined'])).toBe(true);
  expect(WITH_KERNEL.map(isPrompt)).toEqual([true, false, false]);
});

test.each([
  ['foreign login:', true],
  ['foreign login: ', true],
  ['foreign login: root', false],
  ['[    1.857023] login: root logged in', false],
  ['foreign login: [OK] Started', false],
])('a line in video memory is a login prompt: %j %s', (line, expected) => {
  expect(isPrompt(line)).toBe(expected);
});
