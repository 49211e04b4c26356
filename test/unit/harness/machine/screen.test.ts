import { expect, test } from 'vitest';
import { endsWithPrompt } from '../../../../harness/machine/screen.ts';

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
