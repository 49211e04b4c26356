import { expect, test } from 'vitest';
import {
  asksForLogin,
  asksForPassword,
  loaderMenuIn,
  QUESTIONS,
  questionIn,
  refusalIn,
} from '../../../../harness/verdict/questions.ts';

/** Questions as the programs print them. */
test.each([
  ['asks-for-passphrase', 'Passphrase for /dev/disk/by-uuid/5d1c: '],
  ['asks-for-passphrase', 'Please unlock disk vda2_crypt: '],
  ['asks-for-passphrase', '🔐 Please enter passphrase for disk QEMU_HARDDISK (root) on /: (press TAB for no echo) '],
  ['asks-for-passphrase', 'Please enter passphrase for disk root: (press TAB for no echo) ****'],
  ['asks-for-passphrase', 'Please enter LUKS2 token PIN: '],
  ['asks-for-passphrase', "Enter passphrase for 'rpool/root':"],
  ['asks-for-passphrase', 'Enter passphrase for hd0,gpt2 (5d1c0f4e): '],
  ['asks-for-passphrase', 'Password (/dev/vda2) [1/5]:'],
  ['asks-for-passphrase', 'enter passphrase for root: '],
  ['asks-for-new-password', 'Current password: '],
  ['asks-for-new-password', '(current) UNIX password: '],
  ['asks-for-new-password', 'Geben Sie ein neues Passwort ein: '],
  ['asks-for-code', 'Verification code: '],
  ['asks-for-code', "One-time password (OATH) for `root': "],
  ['asks-for-code', 'Passcode or option (1-3): '],
  ['first-boot-wizard', '‣ Please enter system locale name or number (empty to skip, "list" to list options): '],
  ['first-boot-wizard', '-- Press any key to proceed --'],
  ['first-boot-wizard', 'refresh]: '],
  ['asks-to-repair', 'Inode 12, i_blocks is 8, should be 0.  Fix<y>? '],
  ['asks-a-question', 'Do you want to continue? [Y/n] '],
  ['asks-a-question', 'Select a network: '],
  ['asks-a-question', 'Are you there? '],
  ['asks-a-question', '> '],
  ['asks-a-question', "Enter passphrase for key '/root/.ssh/id_ed25519': "],
  ['asks-for-password', 'Password: '],
] as const)('%s: %s', (name, line) => {
  expect(questionIn(line, false)?.name).toBe(name);
});

test.each([
  ['console-wants-enter', 'Please press Enter to activate this console.'],
  ['loader-asks', 'Enter username: '],
  ['loader-asks', 'Enter username: Enter username: '],
  ['first-boot-wizard', 'Press enter to configure.'],
  ['asks-a-question', 'Press any key to continue...'],
] as const)('%s, on a complete line: %s', (name, line) => {
  expect(questionIn(line, true)?.name).toBe(name);
});

test.each([
  'Starting sshd: ',
  'Waiting for network: ',
  ' * Mounting /proc ... ',
  '[  *** ] A start job is running for X (5s / no limit)',
  'Loading initial ramdisk ...',
  'Press ESC for boot menu.',
  'Press ESC in 5 seconds to skip startup.nsh or any other key to continue.',
  'The highlighted entry will be executed automatically in 5s.',
])('not a question: %s', (line) => {
  expect(questionIn(line, false)).toBeUndefined();
});

test('a complete line is a question only if its program is known to end the line', () => {
  expect(questionIn('Select a network: ', true)).toBeUndefined();
  expect(questionIn('Current password: ', true)).toBeUndefined();
});

test.each([
  'Password: ',
  'Passwort: ',
  'Mot de passe : ',
  'パスワード: ',
  '密码： ',
  'Пароль: ',
  "alice's Password: ",
])('a password prompt in any language: %s', (line) => expect(asksForPassword(line)).toBe(true));

test.each(['foreign login: ', 'foreign Anmeldung: ', 'foreign ログイン: ', 'login:'])('a login prompt: %s', (line) =>
  expect(asksForLogin(line)).toBe(true));
test.each([
  'Default login: root / toor',
  'sshd: failed login: 3',
  'Last login: Sat Nov 28 on ttyS0',
])('not a login prompt: %s', (line) => expect(asksForLogin(line)).toBe(false));

test.each(['Login incorrect', 'Anmeldung falsch', 'ログインが失敗しました'])('a refusal: %s', (text) =>
  expect(refusalIn(`\n${text}\n\n`)).toBeDefined());

test('the menus of loaders', () => {
  expect(loaderMenuIn("Press enter to boot the selected OS, `e' to edit")).toMatch(/^Press enter/);
  expect(loaderMenuIn('SYSLINUX 6.04\nboot:boot:  ')).toMatch(/boot:/);
  expect(loaderMenuIn('Booting from Hard Disk...')).toBeUndefined();
});

test('every question has a cause and a source', () => {
  for (const { cause, source } of QUESTIONS) expect(cause.length * source.length).toBeGreaterThan(0);
});
