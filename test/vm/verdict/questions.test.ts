import { expect } from 'vitest';
import { equalCheck } from '../../../harness/verify/checks.ts';
import { FOREVER, testVerdicts, type VerdictCase } from './verdict-case.ts';
import { ASK, consoleProgram, realLogin, SYSVINIT } from './words.ts';

// A question ends the boot within seconds and its line is the cause, unless the answer was configured.

const checks = [equalCheck('a shell answers', 'echo $((6 * 7))', '42')];
const HIGHLIGHT = String.raw`\033[0;1;39m`;
const UUID = '6e2c1c0e-6b1f-4c0e-9d1a-0d5d3c1b2a4f';

/** The initrd asks for a disk's passphrase and continues when it gets "foreign". */
interface Passphrase {
  readonly by: string;
  readonly prompt: string;
  readonly line: RegExp;
  readonly before?: string;
  readonly wrong?: string;
  readonly right?: string;
}

const NIXOS: Passphrase = {
  by: "NixOS's scripted initrd",
  prompt: `Passphrase for /dev/disk/by-uuid/${UUID}: `,
  line: /Passphrase for \/dev\/disk\/by-uuid\//,
  wrong: `Verifying passphrase for /dev/disk/by-uuid/${UUID}... - failure\n`,
  right: `Verifying passphrase for /dev/disk/by-uuid/${UUID}... - success\n`,
};
const DEBIAN: Passphrase = {
  by: 'initramfs-tools',
  prompt: 'Please unlock disk vda2_crypt: ',
  line: /Please unlock disk vda2_crypt:/,
  wrong: 'cryptsetup: ERROR: vda2_crypt: cryptsetup failed, bad password or options?\n',
  right: 'cryptsetup: vda2_crypt: set up successfully\n',
};
const SYSTEMD: Passphrase = {
  by: 'systemd, without a glyph',
  before: 'Starting password query on /dev/ttyS0.\n',
  prompt: `${HIGHLIGHT}Please enter passphrase for disk QEMU_HARDDISK (root): (press TAB for no echo) ${String.raw`\033[0m`}`,
  line: /Please enter passphrase for disk QEMU_HARDDISK \(root\)/,
};
const SYSTEMD_GLYPH: Passphrase = {
  by: 'systemd, with a glyph',
  prompt: `🔐 ${HIGHLIGHT}Please enter passphrase or recovery key for disk cryptroot on /: (press TAB for no echo) ${String.raw`\033[0m`}`,
  line: /Please enter passphrase or recovery key for disk cryptroot on \//,
};
const MKINITCPIO: Passphrase = {
  by: "mkinitcpio, with cryptsetup's own question",
  before: 'A password is required to access the root volume:\n',
  prompt: 'Enter passphrase for /dev/vda2: ',
  line: /Enter passphrase for \/dev\/vda2:/,
  wrong: 'No key available with this passphrase.\n',
};
const DRACUT: Passphrase = {
  by: 'dracut',
  prompt: 'Password (/dev/vda2) [1/5]:Enter passphrase for /dev/vda2: ',
  line: /Password \(\/dev\/vda2\)/,
  wrong: 'Wrong password\n',
};
const PASSPHRASES: readonly Passphrase[] = [
  NIXOS,
  DEBIAN,
  SYSTEMD,
  SYSTEMD_GLYPH,
  MKINITCPIO,
  DRACUT,
  { by: 'ZFS', prompt: "Enter passphrase for 'rpool/root':", line: /Enter passphrase for 'rpool\/root':/ },
  { by: 'bcachefs on NixOS', prompt: 'enter passphrase for root: ', line: /enter passphrase for root:/ },
  {
    by: 'a TPM with a PIN',
    prompt: `🔐 ${HIGHLIGHT}Please enter TPM2 PIN: (press TAB for no echo) ${String.raw`\033[0m`}`,
    line: /Please enter TPM2 PIN:/,
  },
];

const asks = ({ prompt, before = '', wrong = '', right = '' }: Passphrase): string =>
  `${ASK}\nprintf '${before}'\nask '${prompt.replaceAll("'", `'\\''`)}' '${wrong}' '${right}'`;

const unanswered = (each: Passphrase): VerdictCase => ({
  boot: `the boot asks for a disk's passphrase: ${each.by}`,
  guest: { stage1: asks(each) },
  verdict: { name: 'asks-for-passphrase', stage: 'stage 1', cause: each.line, withinMs: 30_000 },
  typedAt: [],
});

const answered = (each: Passphrase): VerdictCase => ({
  boot: `the boot gets a disk's passphrase: ${each.by}`,
  guest: { stage1: asks(each), stage2: SYSVINIT },
  options: { passphrase: 'foreign' },
  verdict: 'good',
  typedAt: [each.line],
  also: (report) => expect(JSON.stringify(report)).not.toMatch(/"keys":"foreign/),
});

/** A question in the system before the login. */
const question = (
  boot: string,
  text: string,
  line: RegExp,
  name: string | readonly string[] = 'asks-a-question',
  before = '',
): VerdictCase => ({
  boot,
  guest: {
    stage2: `${SYSVINIT}\nprintf '${before}'\nprintf '%s' '${text.replaceAll("'", `'\\''`)}'\nread -r answer`,
  },
  verdict: { name, cause: line, withinMs: 30_000 },
  typedAt: [],
});

const FIRSTBOOT = `
  printf '\\nWelcome to your new installation of Small Linux 1.0!\\n\\nPlease configure your system!\\n\\n'
  key() { stty raw -echo; dd bs=1 count=1 2> /dev/null; stty -raw echo; }
  printf -- '-- Press any key to proceed --'; key > /dev/null; printf '\\r\\033[K'
  printf '‣ Please enter system locale name or number (empty to skip, "list" to list options): '; read -r answer
  [ -n "$answer" ] || echo 'No data entered, skipping.'
  printf '‣ Please enter timezone name or number (empty to skip, "list" to list options): '; read -r answer
  [ -n "$answer" ] || echo 'No data entered, skipping.'
  printf '\\n'`;

/** The real login asks for a verification code after the password. @see google-authenticator-libpam */
const withCode = (prompt: string): Record<string, string> =>
  consoleProgram(`
    while printf 'small login: '; do
      read -r name; [ -n "$name" ] || continue
      printf 'Password: '; stty -echo; IFS= read -r password; echo
      printf '%s' '${prompt.replaceAll("'", `'\\''`)}'; IFS= read -r code; stty echo; echo
      [ "$password $code" != 'foreign 123456' ] || { export HOME=/root; exec sh -l; }
      printf '\\nLogin incorrect\\n'
    done`);

const toor = { user: 'toor', password: 'foreign' };

const CASES: readonly VerdictCase[] = [
  // The other programs ask in the same way.
  ...PASSPHRASES.map(
    (each, index): VerdictCase => ({ ...unanswered(each), ...(index % 2 === 1 ? { slow: true } : {}) }),
  ),
  ...[NIXOS, DEBIAN, SYSTEMD_GLYPH, MKINITCPIO].map(answered),
  {
    boot: 'the configured passphrase is wrong',
    guest: { stage1: asks(DEBIAN) },
    options: { passphrase: 'wrong' },
    verdict: { name: 'asks-for-passphrase', stage: 'stage 1', withinMs: 30_000 },
    also: ({ typed }) => expect(typed.length).toBeLessThan(6),
  },
  {
    boot: 'a kernel message follows the question for a passphrase',
    guest: {
      stage1: `${asks(DEBIAN).replace('ask()', "(sleep 2; echo '<4>random: crng init done' > /dev/kmsg) &\n  ask()")}`,
    },
    verdict: { name: 'asks-for-passphrase', stage: 'stage 1', cause: DEBIAN.line, withinMs: 30_000 },
    typedAt: [],
  },
  {
    boot: 'another program answers the question for a passphrase: clevis',
    guest: { stage1: `printf '${DEBIAN.prompt}'; sleep 3; printf '\\n${DEBIAN.right}'`, stage2: SYSVINIT },
    verdict: 'good',
    typedAt: [],
  },
  {
    boot: "GRUB asks for a disk's passphrase",
    slow: true,
    guest: {
      firmware: 'bios',
      loader: `echo -n "Enter passphrase for hd0,gpt2 (${UUID}): "\nread answer\necho "Slot 0 opened"`,
    },
    verdict: { name: 'asks-for-passphrase', stage: 'loader', cause: /Enter passphrase for hd0,gpt2/, withinMs: 30_000 },
    typedAt: [],
  },
  {
    boot: "GRUB gets a disk's passphrase",
    guest: {
      firmware: 'bios',
      loader: `echo -n "Enter passphrase for hd0,gpt2 (${UUID}): "\nread answer\nif [ "$answer" != foreign ]; then halt; fi`,
    },
    options: { passphrase: 'foreign' },
    verdict: 'good',
    typedAt: [/Enter passphrase for hd0,gpt2/],
    // This question echoes typed text.
    also: ({ typed }) => expect(typed.map(({ line }) => line).join('\n')).not.toMatch(/: foreign/),
  },
  {
    boot: "the passphrase of an SSH key is not a disk's",
    guest: {
      stage2: `${SYSVINIT}\nprintf "Enter passphrase for key '/root/.ssh/id_ed25519': "; read -r answer`,
    },
    verdict: { name: ['asks-a-question', 'asks-for-password'], cause: /Enter passphrase for key/, withinMs: 30_000 },
    typedAt: [],
  },
  // Logins.
  {
    boot: 'the login asks for a password, and none was configured: PAM',
    guest: { stage2: SYSVINIT, files: realLogin() },
    options: { login: { user: 'toor' } },
    verdict: { name: 'login-refused', cause: /toor asks for a password/, withinMs: 30_000 },
  },
  {
    boot: 'the login asks for a password, and none was configured: busybox',
    slow: true,
    guest: { stage2: SYSVINIT },
    options: { login: { user: 'toor' } },
    verdict: { name: 'login-refused', cause: /toor asks for a password/, withinMs: 30_000 },
  },
  {
    boot: 'the password is wrong: PAM',
    slow: true,
    guest: { stage2: SYSVINIT, files: realLogin() },
    options: { login: { user: 'toor', password: 'wrong' } },
    verdict: { name: 'login-refused', cause: /toor/ },
  },
  {
    boot: 'the password is wrong: busybox',
    guest: { stage2: SYSVINIT },
    options: { login: { user: 'toor', password: 'wrong' } },
    verdict: { name: 'login-refused', cause: /toor/ },
  },
  {
    boot: 'the password must be changed',
    guest: { stage2: SYSVINIT, files: realLogin() },
    options: { login: { user: 'old', password: 'foreign' } },
    verdict: { name: 'asks-for-new-password', cause: /required to change your password|Current password|New password/ },
  },
  {
    boot: 'the password must be changed, and is changed',
    guest: { stage2: SYSVINIT, files: realLogin() },
    options: {
      checks,
      login: { user: 'old', password: 'foreign' },
      answers: [
        { pattern: /Current password: /, text: 'foreign' },
        { pattern: /^New password: /, text: 'Lb8-quite-another' },
        { pattern: /Retype new password: /, text: 'Lb8-quite-another' },
      ],
    },
    verdict: 'good',
  },
  {
    boot: 'the account has expired',
    guest: { stage2: SYSVINIT, files: realLogin() },
    options: { login: { user: 'gone', password: 'foreign' } },
    verdict: { name: 'login-refused', cause: /account has expired/ },
  },
  {
    boot: "the user's shell is nologin",
    slow: true,
    guest: { stage2: SYSVINIT },
    options: { login: { user: 'nobody' } },
    verdict: { name: 'login-refused', cause: /not available/ },
  },
  {
    boot: 'login is broken: a PAM module is missing',
    slow: true,
    guest: { stage2: SYSVINIT, files: { ...realLogin(), '/lib/x86_64-linux-gnu/security/pam_unix.so': false } },
    options: { login: toor },
    verdict: { name: 'login-refused', cause: /toor/ },
  },
  {
    boot: 'the login asks for a verification code',
    slow: true,
    guest: { stage2: SYSVINIT, files: withCode('Verification code: ') },
    options: { login: { user: 'root', password: 'foreign' } },
    verdict: { name: 'asks-for-code', cause: /Verification code:/, withinMs: 30_000 },
  },
  {
    boot: 'the login asks for a one-time password',
    slow: true,
    guest: { stage2: SYSVINIT, files: withCode("One-time password (OATH) for `root': ") },
    options: { login: { user: 'root', password: 'foreign' } },
    verdict: { name: 'asks-for-code', cause: /One-time password \(OATH\)/, withinMs: 30_000 },
  },
  {
    boot: 'a verification code is configured',
    guest: { stage2: SYSVINIT, files: withCode('Verification code: ') },
    options: {
      checks,
      login: { user: 'root', password: 'foreign' },
      answers: [{ pattern: /Verification code/, text: '123456' }],
    },
    verdict: 'good',
  },
  {
    boot: "root's profile asks a question",
    guest: {
      stage2: SYSVINIT,
      files: { '/etc/profile': "printf 'Do you want to continue? [Y/n] '; read -r answer\n" },
    },
    verdict: { name: 'asks-a-question', cause: /Do you want to continue\?/ },
  },
  // First-boot wizards.
  {
    boot: 'the first-boot wizard of systemd',
    guest: { stage2: `${SYSVINIT}\n${FIRSTBOOT}` },
    verdict: { name: 'first-boot-wizard', cause: /Press any key to proceed|new installation/, withinMs: 30_000 },
    typedAt: [],
  },
  {
    boot: 'the first-boot wizard of systemd, without a login',
    slow: true,
    guest: { stage2: `${SYSVINIT}\n${FIRSTBOOT}` },
    options: { login: false },
    verdict: { name: 'first-boot-wizard', cause: /Press any key to proceed|new installation/, withinMs: 30_000 },
    typedAt: [],
  },
  {
    boot: 'the first-boot wizard of systemd, with answers',
    guest: { stage2: `${SYSVINIT}\n${FIRSTBOOT}` },
    options: {
      checks,
      answers: [
        { pattern: /Press any key to proceed/, text: '' },
        { pattern: /Please enter .* \(empty to skip/, text: '' },
      ],
    },
    verdict: 'good',
    typedAt: [/Press any key to proceed/, /locale name/, /timezone name/],
  },
  question(
    'the first-boot wizard of systemd 258',
    '🌍 Please enter the new system locale name or number ("list" to list options, empty to skip): ',
    /Please enter the new system locale/,
    'first-boot-wizard',
    String.raw`\033[H\033[2J\033[0;44;1;37m     Initial Setup\033[K\033[0m\nWelcome to Small Linux!\n\n✨ Please configure the system!\n\n`,
  ),
  {
    boot: 'the first-boot wizard of Armbian, after an automatic login',
    guest: {
      stage2: SYSVINIT,
      files: {
        ...realLogin('--autologin root'),
        '/etc/profile':
          "printf 'Welcome to Armbian!\\n\\nDocumentation: https://docs.armbian.com\\n\\nCreate root password: '; read -r answer\n",
      },
    },
    verdict: { name: ['asks-for-new-password', 'first-boot-wizard'], cause: /Create root password/ },
  },
  question(
    'the first-boot wizard of Ubuntu Core',
    'Press enter to configure.',
    /Press enter to configure/,
    ['first-boot-wizard', 'asks-a-question'],
    String.raw`Ubuntu Core 24 on 10.0.2.15 (ttyS0)\n`,
  ),
  question(
    'initial-setup of Fedora',
    'refresh]: ',
    /refresh\]:|Please make a selection/,
    ['first-boot-wizard', 'asks-a-question'],
    `${'='.repeat(80)}\\nInitial setup of Fedora Linux 43\\n\\n1) [x] Language settings                 2) [!] Time settings\\n\\nPlease make a selection from the above ['\\''c'\\'' to continue, '\\''h'\\'' to help, '\\''q'\\'' to quit, '\\''r'\\'' to\\n`,
  ),
  // Other questions.
  question('an unknown question: ?', 'Proceed? ', /Proceed\?/),
  question('an unknown question: colon', 'Select language: ', /Select language:/),
  question('an unknown question: >', '> ', />/, 'asks-a-question', String.raw`1) eth0\n2) eth1\n`),
  question('an unknown question: yes or no', 'Overwrite? [y/N] ', /Overwrite\?/),
  question(
    'a menu of an appliance',
    'Enter an option: ',
    /Enter an option:/,
    'asks-a-question',
    String.raw` 0) Logout\n 1) Assign Interfaces\n 5) Reboot system\n\n`,
  ),
  question('a pager', '--More--', /--More--/),
  question(
    'any key, on a line of its own',
    '',
    /Press any key to continue/,
    'asks-a-question',
    String.raw`Press any key to continue...\n`,
  ),
  {
    boot: 'any key, followed by a kernel message',
    guest: {
      stage2: `${SYSVINIT}\necho 'Press any key to continue...'\necho '<3>usb 1-1: device descriptor read/64, error -110' > /dev/kmsg\nread -r answer`,
    },
    options: { checks },
    verdict: { name: 'asks-a-question', cause: /Press any key to continue/ },
    typedAt: [],
  },
  question(
    'sysvinit has no inittab',
    'Enter runlevel: ',
    /Enter runlevel:/,
    'asks-a-question',
    String.raw`INIT: No inittab file found\n\n`,
  ),
  {
    boot: 'an unknown question with an answer',
    guest: {
      stage2: `${SYSVINIT}\nwhile printf 'Select language: '; do read -r answer; [ "$answer" != de ] || break; done`,
    },
    options: { checks, answers: [{ pattern: 'Select language: ', text: 'de' }] },
    verdict: 'good',
    typedAt: [/Select language:/],
  },
  {
    boot: 'an answer to a question that is not asked',
    guest: { stage2: SYSVINIT },
    options: { checks, passphrase: 'foreign', answers: [{ pattern: /Proceed\?/, text: 'y' }] },
    verdict: 'good',
    also: ({ typed }) => expect(typed.filter(({ keys }) => /foreign|y/.test(keys))).toEqual([]),
  },
  {
    boot: 'e2fsck asks whether to repair',
    guest: {
      stage1: `printf '/dev/vda1 contains a file system with errors, check forced.\\nPass 1: Checking inodes, blocks, and sizes\\n'\nprintf 'Inode 12, i_blocks is 8, should be 16.  Fix<y>? '; read -r answer`,
    },
    verdict: { name: 'asks-to-repair', stage: 'stage 1', cause: /Fix<y>\?/, withinMs: 30_000 },
    typedAt: [],
  },
  {
    boot: 'sulogin asks for Enter',
    guest: {
      stage2: `${SYSVINIT}\nprintf 'You are in emergency mode. After logging in, type "journalctl -xb" to view\\nsystem logs, "systemctl reboot" to reboot, or "exit"\\nto continue bootup.\\n\\nPress Enter for maintenance\\n(or press Control-D to continue): '; read -r line; ${FOREVER}`,
    },
    verdict: { name: 'emergency', cause: /emergency mode/, withinMs: 30_000 },
    typedAt: [],
  },
  {
    boot: 'sulogin for a locked root account',
    slow: true,
    guest: {
      stage1: `while :; do printf '\\nCannot open access to console, the root account is locked.\\nSee sulogin(8) man page for more details.\\n\\nPress Enter to continue.\\n'; read -r line; done`,
    },
    verdict: { name: 'emergency', stage: 'stage 1', withinMs: 30_000 },
    typedAt: [],
  },
  {
    boot: "the menu of NixOS's scripted stage 1",
    guest: {
      stage1: String.raw`printf "\nAn error occurred in stage 1 of the boot process, which must mount the\nroot filesystem on \140/mnt-root' and then start stage 2.  Press one\nof the following keys:\n\n  r) to reboot immediately\n  *) to ignore the error and continue\n"; read -r line`,
    },
    verdict: { name: 'stage-1-failed', stage: 'stage 1', withinMs: 30_000 },
    typedAt: [],
  },
  {
    boot: 'GRUB asks for a user name',
    guest: { firmware: 'bios', loader: 'echo "Enter username: "\nread user' },
    verdict: {
      name: 'loader-asks',
      stage: 'loader',
      cause: /Enter username:/,
      withinMs: 30_000,
    },
    typedAt: [],
  },
];

testVerdicts(CASES);
