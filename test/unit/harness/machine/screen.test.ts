import { expect, test } from 'vitest';
import { endsWithPrompt } from '../../../../harness/machine/screen.ts';

// As tesseract 5.3.0 reads Linux's framebuffer console: without its cursor, with it as an underscore, a block, and half a block.
test.each([
  'foreign login:',
  'foreign login: _',
  'foreign login: fj',
  'foreign login: »',
  'foreign login',
  'foreign login. ',
])('a picture ends with a login prompt: %j', (line) => {
  expect(endsWithPrompt(['Debian GNU/Linux 12 foreign ttyi', '', line, ''])).toBe(true);
});

test.each([
  ['foreign login: root', 'Password:'],
  ['[  OK  ] Started systemd-logind.service - User Login Management.'],
  ['foreign login: root', 'Last login: Sun Nov 29 14:48:47 UTC 2026 on tty1'],
  ['Waiting for the login service'],
  [],
])('a picture ends with something else', (...lines) => {
  expect(endsWithPrompt(lines)).toBe(false);
});
