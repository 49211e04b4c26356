import { expect } from 'vitest';
import { equalCheck } from '../../../harness/verify/checks.ts';
import { testVerdicts, type VerdictCase } from './verdict-case.ts';
import { consoleProgram, realLogin, SYSVINIT } from './words.ts';

// A login requires neither English, a POSIX shell, root, nor a particular prompt.

const checks = [equalCheck('a shell answers', 'echo $((6 * 7)); echo "two words"', '42\ntwo words')];

/** root's ash with a prompt, written for printf. */
const prompt = (ps1: string): VerdictCase['guest'] => ({
  stage2: SYSVINIT,
  files: { '/etc/profile': `PS1="$(printf '${ps1}')"\n` },
});

const PROMPTS: readonly (readonly [what: string, ps1: string])[] = [
  ['❯', '❯ '],
  ['➜ and the directory, with colours', String.raw`\033[1;32m➜  \033[36m~\033[00m `],
  ['λ after a title, followed by terminal codes', String.raw`\033]0;small: ~\007λ \033[?2004h\033[=5u\033[5 q`],
  ['two lines, and a shift-in at the end', String.raw`┌──(root㉿small)-[~]\r\n└─\033[1;31m#\033[0m \017`],
  ['nothing at all', ''],
  ["a login prompt's words", 'small login: '],
  [
    'a colon, and marks of OSC 133 and OSC 3008',
    String.raw`\033]133;A\007\033]3008;start=ec0f;user=root\033\\: \033]133;B\007`,
  ],
];

const withProfile = (boot: string, profile: string, options: VerdictCase['options'] = {}): VerdictCase => ({
  boot,
  guest: { stage2: SYSVINIT, files: { '/etc/profile': `${profile}\n` } },
  options: { checks, ...options },
  verdict: 'good',
});

/** A login in another language that checks the password "foreign". @see the translations of Linux-PAM and util-linux */
const translated = (prompts: { login: string; password: string; wrong: string }): Record<string, string> =>
  consoleProgram(String.raw`
    # As getty does, which is in no other language, and asks again for a name that is empty.
    while printf 'small login: '; read -r name; do [ -z "$name" ] || break; done
    while :; do
      printf '%s' '${prompts.password}'
      stty -echo; IFS= read -r password; stty echo; echo
      [ "$password" != foreign ] || { export HOME=/root; exec sh -l; }
      printf '%s\n' '${prompts.wrong}'
      while printf '\n%s' '${prompts.login}'; read -r name; do [ -z "$name" ] || break; done
    done`);

const LANGUAGES = {
  German: { login: 'Anmeldung: ', password: 'Passwort: ', wrong: 'Anmeldung falsch' },
  Japanese: { login: 'ログイン: ', password: 'パスワード: ', wrong: 'ログインが失敗しました' },
  French: { login: 'identifiant\u00a0: ', password: 'Mot de passe\u00a0: ', wrong: 'Identifiant incorrect' },
  Chinese: { login: '登录：', password: '密码： ', wrong: '登录不正确' },
};
const foreign = { user: 'root', password: 'foreign' };

const CASES: readonly VerdictCase[] = [
  ...PROMPTS.map(
    ([what, ps1], index): VerdictCase => ({
      ...(index % 2 === 1 ? { slow: true } : {}),
      boot: `a prompt: ${what}`,
      guest: prompt(ps1),
      options: { checks },
      verdict: 'good',
    }),
  ),
  ...['bash', 'zsh', 'fish'].map(
    (user): VerdictCase => ({
      boot: `${user} as login shell, with its defaults`,
      guest: { stage2: SYSVINIT },
      options: { checks, login: { user } },
      verdict: 'good',
    }),
  ),
  {
    boot: 'zsh with a right prompt',
    guest: { stage2: SYSVINIT, files: { '/root/.zshrc': "PROMPT='%F{green}❯%f '\nRPROMPT='%F{blue}[%~]%f'\n" } },
    options: { checks, login: { user: 'zsh' } },
    verdict: 'good',
  },
  {
    boot: 'bash with a prompt command and vi mode',
    slow: true,
    guest: {
      stage2: SYSVINIT,
      files: {
        '/root/.bash_profile': `${String.raw`set -o vi; PROMPT_COMMAND='printf "\033]7;file://small%s\033\\" "$PWD"; echo "[$(date)]"'`}\n`,
      },
    },
    options: { checks, login: { user: 'bash' } },
    verdict: 'good',
  },
  withProfile('a shell that ends at the first error, and at unset variables', 'set -eu'),
  withProfile(
    'a shell that has the usual names for itself',
    "readonly c=1 o=2 id=3; alias echo='echo alias' printf=false cat=tac exec='exec -c'",
  ),
  withProfile('a profile with a message and a wait', "cat /etc/passwd; echo 'You have new mail.'; sleep 3"),
  withProfile('a terminal that does not echo', 'stty -echo'),
  ...Object.entries(LANGUAGES).map(
    ([language, prompts], index): VerdictCase => ({
      ...(index % 2 === 1 ? { slow: true } : {}),
      boot: `a password prompt in ${language}`,
      guest: { stage2: SYSVINIT, files: translated(prompts) },
      options: { checks, login: foreign },
      verdict: 'good',
    }),
  ),
  {
    boot: 'a login is refused in German',
    guest: { stage2: SYSVINIT, files: translated(LANGUAGES.German) },
    options: { login: { user: 'root', password: 'wrong' } },
    verdict: { name: 'login-refused', cause: /Anmeldung falsch|root/ },
  },
  {
    boot: 'the real agetty and login, with messages from PAM',
    slow: true,
    guest: { stage2: SYSVINIT, files: realLogin() },
    options: { checks, login: { user: 'toor', password: 'foreign' } },
    verdict: 'good',
  },
  {
    boot: 'agetty logs root in automatically',
    slow: true,
    guest: { stage2: SYSVINIT, files: realLogin('--autologin root') },
    options: { checks },
    verdict: 'good',
  },
  {
    boot: 'agetty waits for Enter before it logs root in',
    guest: { stage2: SYSVINIT, files: realLogin('--autologin root --login-pause') },
    options: { checks },
    verdict: 'good',
    typedAt: [/\[press ENTER to login\]/],
  },
  {
    boot: 'agetty prints nothing before Enter',
    guest: { stage2: SYSVINIT, files: realLogin('--wait-cr') },
    options: { checks, login: { user: 'toor', password: 'foreign' } },
    verdict: 'good',
    typedAt: [/.*/],
  },
  {
    boot: "busybox's init waits for Enter before it starts a shell",
    guest: {
      files: { '/etc/inittab': '::sysinit:/etc/rc.start\nttyS0::askfirst:-/bin/sh\n::shutdown:/etc/rc.stop\n' },
    },
    options: { checks },
    verdict: 'good',
    typedAt: [/Please press Enter to activate this console\./],
  },
  {
    boot: "OpenWrt's procd waits for Enter, followed by kernel messages",
    guest: {
      stage2: "echo 'Press the [f] key and hit [enter] to enter failsafe mode'",
      files: consoleProgram(`
        (sleep 1; echo '<6>br-lan: port 1(eth0) entered forwarding state' > /dev/kmsg) &
        echo 'Please press Enter to activate this console.'; read -r line
        export HOME=/root; exec sh -l`),
    },
    options: { checks },
    verdict: 'good',
    typedAt: [/Please press Enter to activate this console\./],
  },
  {
    boot: 'a root shell without a login',
    guest: {
      stage2: SYSVINIT,
      files: { '/etc/inittab': '::sysinit:/etc/rc.start\nttyS0::respawn:-/bin/sh\n::shutdown:/etc/rc.stop\n' },
    },
    options: { checks },
    verdict: 'good',
  },
  {
    boot: 'a root shell without a login, and none is requested',
    slow: true,
    guest: {
      stage2: SYSVINIT,
      files: { '/etc/inittab': '::sysinit:/etc/rc.start\nttyS0::respawn:-/bin/sh\n::shutdown:/etc/rc.stop\n' },
    },
    options: { login: false },
    verdict: 'good',
  },
  {
    boot: 'a user who may power off with sudo',
    guest: { stage2: SYSVINIT, files: { '/etc/sudoers': 'nick ALL=(ALL:ALL) NOPASSWD: ALL\n' } },
    options: { checks: [...checks, equalCheck('user', 'id -u', '1000')], login: { user: 'nick' } },
    verdict: 'good',
    also: ({ cleanShutdown }) => expect(cleanShutdown).toBe(true),
  },
  {
    boot: 'a user who may not power off, in a guest that handles the power button',
    guest: {
      stage2: `${SYSVINIT}; mkdir -p /etc/acpi/PWRF; printf '#!/bin/sh\\npoweroff\\n' > /etc/acpi/PWRF/00000080; chmod +x /etc/acpi/PWRF/00000080; acpid -l /dev/null`,
    },
    options: { checks, login: { user: 'nick' } },
    verdict: 'good',
    also: ({ cleanShutdown }) => expect(cleanShutdown).toBe(true),
  },
  {
    boot: 'a user who may not power off, in a guest that ignores the power button',
    guest: { stage2: SYSVINIT },
    options: { checks, login: { user: 'nick' } },
    verdict: 'good',
    also: ({ cleanShutdown, warnings }) => {
      expect(cleanShutdown).toBe(false);
      expect(warnings.join('\n')).toMatch(/power/);
    },
  },
  {
    boot: 'a guest without base64',
    slow: true,
    guest: { stage2: SYSVINIT, files: { '/bin/base64': false } },
    options: { checks },
    verdict: 'good',
  },
  {
    boot: 'a guest without cksum',
    slow: true,
    guest: { stage2: SYSVINIT, files: { '/bin/cksum': false } },
    options: { checks },
    verdict: 'good',
  },
  {
    boot: 'a guest without base64, cksum and most of their alternatives',
    guest: {
      stage2: SYSVINIT,
      files: Object.fromEntries(
        ['base64', 'cksum', 'crc32', 'uuencode', 'xxd', 'md5sum', 'sha1sum', 'sha256sum', 'sha512sum'].map((name) => [
          `/bin/${name}`,
          false as const,
        ]),
      ),
    },
    options: { checks },
    verdict: 'good',
  },
];

testVerdicts(CASES);
