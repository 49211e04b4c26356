import { commandCheck } from '../../../harness/verify/checks.ts';
import { FOREVER, testVerdicts, type VerdictCase } from './verdict-case.ts';
import { consoleProgram, INITRAMFS_NO_ROOT, SYSVINIT } from './words.ts';

// Broken images that look good: no output makes an image good.

const PROMPT = "printf 'small login: '";
const PROMPTS_FOR_EVER = `while ${PROMPT}; do read -r line; done`;
const UNCONFIRMED = 'login-prompt-unconfirmed';
const NOBODY_ANSWERS = [UNCONFIRMED, 'login-refused', 'wrong-shell', 'no-shell'];
/** Copies the files that a system needs to a filesystem in memory. */
const TO_RAM = `
  mount -t ext4 -o ro "$(findfs $root)" /mnt
  mkdir /ram && mount -t tmpfs tmpfs /ram && mkdir /ram/dev /ram/proc /ram/sys /ram/run /ram/tmp
  cp -a /mnt/bin /mnt/sbin /mnt/etc /mnt/root /ram/ && umount /mnt
  for name in dev proc sys; do mount -o move /$name /ram/$name; done
  exec switch_root /ram /sbin/init`;
const CHROOT = `
  mount -t ext4 "$(findfs $root)" /mnt
  for name in dev proc sys; do mount -o bind /$name /mnt/$name; done
  echo 'INIT: version 3.06 booting'
  while :; do setsid chroot /mnt /sbin/getty -L ttyS0 115200 vt100; done`;
const RESCUE_LOGIN = `
  echo 'root::0:0::/:/bin/sh' > /etc/passwd
  while :; do setsid getty -L ttyS0 115200 vt100; done`;
const PANIC = 'echo c > /proc/sysrq-trigger';

const CASES: readonly VerdictCase[] = [
  {
    boot: 'a prompt in the kernel parameters, which the kernel prints, and no root: the initrd reports it',
    guest: {
      firmware: 'bios',
      parameters: 'issue="foreign login: " root=LABEL=absent',
      stage1: INITRAMFS_NO_ROOT,
    },
    options: { login: false },
    verdict: { name: ['root-device-missing', 'stage-1-shell'], stage: 'stage 1', cause: /LABEL=absent/ },
  },
  {
    boot: 'a prompt in the kernel parameters, which the kernel prints, and no root: the initrd waits in silence',
    slow: true,
    guest: {
      firmware: 'bios',
      parameters: 'issue="foreign login: "',
      stage1: 'while ! findfs LABEL=absent > /dev/null 2>&1; do sleep 1; done',
    },
    options: { login: false },
    verdict: { name: ['hang', 'root-device-missing'], stage: 'stage 1' },
  },
  {
    boot: 'the initrd prints a prompt and starts a shell, without a login',
    guest: { firmware: 'bios', stage1: `${PROMPT}; read -r line; exec setsid cttyhack sh -i` },
    options: { login: false },
    verdict: { name: [UNCONFIRMED, 'in-initrd', 'stage-1-shell'], stage: 'stage 1' },
  },
  {
    boot: 'the initrd prints a prompt and starts a shell, with a login',
    guest: { firmware: 'bios', stage1: `${PROMPT}; read -r line; exec setsid cttyhack sh -i` },
    options: { checks: [commandCheck('true')] },
    verdict: { name: 'in-initrd', stage: 'stage 1' },
  },
  {
    boot: 'the initrd prints a prompt at each Enter, without a login',
    guest: { firmware: 'bios', stage1: PROMPTS_FOR_EVER },
    options: { login: false },
    verdict: { name: UNCONFIRMED, stage: 'stage 1' },
  },
  {
    boot: 'the initrd prints a prompt at each Enter, with a login',
    slow: true,
    guest: { firmware: 'bios', stage1: PROMPTS_FOR_EVER },
    verdict: { name: NOBODY_ANSWERS },
  },
  {
    boot: 'the initrd forges a complete login',
    guest: {
      firmware: 'bios',
      stage1: String.raw`
        printf '\nWelcome to \033[1mDebian GNU/Linux 12 (bookworm)\033[0m!\n\n'
        while printf 'small login: '; do
          read -r name; printf 'Password: '; read -r password
          printf 'Last login: Sat Nov 28 12:00:00 UTC 2026 on ttyS0\n'
          while printf 'root@small:~# '; do read -r line; echo GOOD; done
        done`,
    },
    options: { login: { user: 'root', password: 'foreign' } },
    verdict: { name: ['wrong-shell', ...NOBODY_ANSWERS] },
  },
  {
    boot: 'the initrd has its own real getty and login',
    guest: { firmware: 'bios', stage1: RESCUE_LOGIN },
    verdict: { name: 'in-initrd', stage: 'stage 1' },
  },
  {
    boot: 'the initrd has its own real getty and login, without a login',
    slow: true,
    guest: { firmware: 'bios', stage1: RESCUE_LOGIN },
    options: { login: false },
    verdict: { name: UNCONFIRMED, stage: 'stage 1' },
  },
  {
    boot: "a real login in a chroot of the root, with the initrd's process 1",
    guest: { firmware: 'bios', stage1: CHROOT },
    verdict: { name: ['foreign-init', 'in-initrd'] },
  },
  {
    boot: 'the root is a copy in memory',
    guest: { firmware: 'bios', stage1: TO_RAM },
    verdict: { name: ['foreign-root', 'in-initrd'] },
  },
  {
    boot: 'GRUB prints a prompt and stops',
    guest: { firmware: 'bios', loader: 'echo -n "small login: "\nread line\nsleep 100000' },
    options: { login: false },
    verdict: { name: [UNCONFIRMED, 'hang', 'asks-a-question'], stage: ['loader', 'firmware'] },
  },
  ...([false, undefined] as const).map(
    (login): VerdictCase => ({
      boot: `lines with the words of a prompt but no prompt, ${login === false ? 'without' : 'with'} a login`,
      guest: {
        stage2: `${SYSVINIT}; echo 'Default login: root / toor'; echo 'sshd: failed login: 3'; echo 'How to login: see the manual'; ${FOREVER}`,
      },
      options: { login },
      verdict: { name: ['hang', 'no-serial-console', UNCONFIRMED] },
    }),
  ),
  {
    boot: 'a kernel message with the words of a prompt but no prompt',
    slow: true,
    guest: { stage2: `${SYSVINIT}; echo '<4>audit: login: uid=0 login: ' > /dev/kmsg; ${FOREVER}` },
    options: { login: false },
    verdict: { name: ['hang', 'no-serial-console', UNCONFIRMED] },
  },
  {
    boot: 'a prompt that appears once, without a program that reads from it',
    guest: { files: consoleProgram(`printf 'small login: '; exec ${FOREVER}`), stage2: SYSVINIT },
    options: { login: false },
    verdict: { name: [UNCONFIRMED, 'hang'] },
  },
  {
    boot: 'a console that echoes all input',
    guest: { files: consoleProgram("printf 'small login: '; exec cat"), stage2: SYSVINIT },
    verdict: { name: ['wrong-shell', 'hang', ...NOBODY_ANSWERS] },
  },
  {
    boot: 'the guest powers off after a prompt',
    guest: { files: consoleProgram("printf 'small login: '; sleep 1; poweroff -f"), stage2: SYSVINIT },
    options: { login: false },
    verdict: { name: ['guest-shutdown', UNCONFIRMED] },
  },
  {
    boot: 'the kernel panics while the checks run',
    guest: {},
    options: { checks: [commandCheck('true'), commandCheck(PANIC)] },
    verdict: { name: 'kernel-panic', cause: /panic/ },
  },
  {
    boot: 'the kernel panics after the checks, while the guest powers off',
    guest: { files: { '/etc/rc.stop': `#!/bin/sh\n${PANIC}\n` } },
    options: { checks: [commandCheck('true')] },
    verdict: { name: 'kernel-panic', cause: /panic/ },
  },
  {
    boot: 'the kernel panics after the prompt, without a login',
    guest: { stage2: `${SYSVINIT}; (sleep 4; ${PANIC}) &` },
    options: { login: false },
    verdict: { name: 'kernel-panic', cause: /panic/ },
  },
  {
    boot: 'the guest resets itself while the checks run',
    guest: {},
    options: { checks: [commandCheck('echo b > /proc/sysrq-trigger')] },
    verdict: { name: 'machine-reset' },
  },
  {
    boot: 'the guest halts instead of powering off',
    guest: { files: { '/etc/rc.stop': '#!/bin/sh\nhalt -f\n' } },
    verdict: { name: 'halted', stage: 'shutdown' },
  },
  {
    boot: 'the guest reboots instead of powering off',
    slow: true,
    guest: { files: { '/etc/rc.stop': '#!/bin/sh\nreboot -f\n' } },
    verdict: { name: ['unclean-shutdown', 'machine-reset'], stage: 'shutdown' },
  },
  {
    boot: 'the guest never completes its power-off',
    slow: true,
    guest: { files: { '/etc/rc.stop': `#!/bin/sh\n${FOREVER}\n` } },
    verdict: { name: ['unclean-shutdown', 'hang', 'timeout'], stage: 'shutdown', withinMs: 180_000 },
  },
];

testVerdicts(CASES);
