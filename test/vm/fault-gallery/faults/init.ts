import {
  beforeInit,
  changeEtc,
  changeInittab,
  inStage2,
  insteadOfInit,
  loginOnScreen,
  WITH_PAM,
  withoutConsole,
} from '../changes.ts';
import type { Fault } from '../fault.ts';
import { ACTIVATION, GRUB_CFG } from '../parts.ts';

/** Faults in stage 2, init, the login and the shutdown. */
export const INIT_FAULTS: readonly Fault[] = [
  {
    fault: 'activation fails',
    ...{
      base: 'hybrid',
      firmware: 'bios',
      stage: 'stage 2',
      name: 'activation-failed',
      cause: /snippet 'users' failed/,
    },
    breakIt: (image) =>
      image.changeSystem('activate', (script) =>
        script.replace('\n', '\nprintf "Activation script snippet \'%s\' failed (%s)\\n" users 1\n'),
      ),
  },
  {
    fault: 'stage 2 ends',
    ...{
      base: 'hybrid',
      firmware: 'bios',
      stage: 'stage 2',
      name: 'kernel-panic-init-died',
      cause: /Attempted to kill init/,
    },
    breakIt: (image) =>
      image.changeSystem('init', (script) => script.replace('running activation script', 'leaving"; exit 3; echo "')),
  },
  {
    fault: 'init loops silently',
    ...{ base: 'hybrid', firmware: 'bios', stage: 'stage 2', name: 'hang', cause: /hangs in a loop/ },
    breakIt: (image) => image.changeSystem('init', (script) => script.replace(ACTIVATION, 'while :; do :; done')),
  },
  {
    fault: 'init reboots the machine',
    ...{ base: 'hybrid', firmware: 'bios', stage: 'stage 2', name: 'machine-reset', cause: /guest rebooted/ },
    breakIt: (image) => image.changeSystem('init', (script) => script.replace(ACTIVATION, 'reboot -f')),
  },
  {
    fault: 'full disk',
    ...{ base: 'hybrid', firmware: 'bios', stage: 'stage 1', name: 'filesystem-full', cause: /free bytes/ },
    breakIt: async (image) => {
      const free = Number(/Free blocks: +(\d+)/.exec(await image.debugfs('stats'))?.[1]);
      await image.debugfs('write /dev/null filler', `fallocate filler 0 ${free - 40}`);
    },
  },
  {
    fault: 'filesystem marked as having errors',
    ...{ base: 'hybrid', firmware: 'bios', stage: 'image', name: 'filesystem-errors', cause: /having errors/ },
    breakIt: async (image) => {
      await image.debugfs('set_super_value state 2');
    },
  },
  {
    fault: 'no serial console in the parameters (BIOS)',
    ...{
      base: 'hybrid',
      firmware: 'bios',
      stage: 'login',
      name: 'no-serial-console',
      cause: /screen shows a login prompt|shows that the boot reached/,
    },
    breakIt: async (image) => {
      await image.changeOnEsp(GRUB_CFG, withoutConsole);
      await loginOnScreen(image);
    },
  },
  {
    fault: 'the login asks for a password',
    ...{ base: 'hybrid', firmware: 'bios', stage: 'login', name: 'login-refused', cause: /refused|password/ },
    machine: { login: { user: 'nobody-of-that-name' } },
    breakIt: async () => {},
  },
  {
    fault: 'too little memory',
    ...{
      base: 'hybrid',
      firmware: 'bios',
      stage: 'loader',
      name: 'grub-error',
      cause: /out of memory/,
    },
    machine: { memoryMiB: 80 },
    breakIt: async () => {},
  },
  {
    fault: 'stage 2 powers the machine off',
    ...{ base: 'hybrid', firmware: 'bios', stage: 'stage 2', name: 'guest-shutdown', cause: /guest powered off/ },
    breakIt: (image) => inStage2(image, 'poweroff -f'),
  },
  {
    fault: 'init reboots the machine twice, and one reboot is allowed',
    ...{ base: 'hybrid', firmware: 'bios', stage: 'stage 2', name: 'machine-reset', cause: /guest rebooted/ },
    machine: { allowReboots: 1 },
    breakIt: (image) => inStage2(image, 'echo >> /boots; sync; [ $(wc -l < /boots) -gt 2 ] || reboot -f'),
  },
  {
    fault: 'no getty on any console',
    slow: true,
    ...{ base: 'hybrid', firmware: 'bios', stage: 'init', name: 'hang', cause: /CPU is idle/ },
    breakIt: (image) => changeInittab(image, (table) => table.replace(/^.*getty.*\n/m, '')),
  },
  {
    fault: 'getty on a missing port',
    slow: true,
    ...{ base: 'hybrid', firmware: 'bios', stage: 'init', name: 'hang', cause: /CPU is idle/ },
    breakIt: (image) => changeInittab(image, (table) => table.replace('ttyS0', 'ttyS9')),
  },
  {
    fault: 'root’s shell is missing',
    ...{ base: 'hybrid', firmware: 'bios', stage: 'login', name: 'login-refused', cause: /login/ },
    breakIt: (image) => beforeInit(image, `sed -i 's|^root:.*|root:x:0:0::/root:/bin/no-such-shell|' /etc/passwd`),
  },
  {
    fault: 'root’s shell is not a shell',
    slow: true,
    ...{ base: 'hybrid', firmware: 'bios', stage: 'login', name: 'no-shell', cause: /no shell/ },
    breakIt: (image) => beforeInit(image, `sed -i 's|^root:.*|root:x:0:0::/root:/bin/cat|' /etc/passwd`),
  },
  {
    fault: '/etc/passwd contains only zeros',
    slow: true,
    ...{
      base: 'hybrid',
      firmware: 'bios',
      stage: 'login',
      name: 'login-refused',
      cause: /refused|incorrect|password/i,
    },
    breakIt: (image) => beforeInit(image, 'dd if=/dev/zero of=/etc/passwd bs=512 count=1 2> /dev/null'),
  },
  {
    fault: 'root is locked in /etc/shadow',
    slow: true,
    ...{
      base: 'hybrid',
      firmware: 'bios',
      stage: 'login',
      name: 'login-refused',
      cause: /refused|incorrect|password/i,
    },
    breakIt: (image) => beforeInit(image, `sed -i 's/^root:[^:]*:/root:!:/' /etc/shadow`),
  },
  {
    fault: 'PAM module for the login missing',
    ...{
      base: 'systemd',
      firmware: 'bios',
      stage: 'login',
      name: 'login-refused',
      cause: /refused|asks for it again|again/i,
    },
    breakIt: async (image) => {
      await insteadOfInit(image, WITH_PAM);
      await changeEtc(image, 'pam.d/login', (rules) => rules.replaceAll('pam_unix.so', 'pam_nowhere.so'));
    },
  },
  {
    fault: 'the login waits for a unit that never starts',
    slow: true,
    ...{
      base: 'systemd',
      firmware: 'bios',
      stage: 'init',
      name: 'waits-for-job',
      cause: /never\.service|Waits forever/,
    },
    breakIt: async (image) => {
      const etc = `${await image.linkOfSystem('etc')}/systemd/system`;
      const unit = `[Unit]
Description=Waits forever
DefaultDependencies=no
Before=serial-getty@ttyS0.service multi-user.target
[Service]
Type=oneshot
TimeoutStartSec=infinity
ExecStart=/bin/sleep infinity
`;
      await image.addToRoot(`${etc}/never.service`, unit);
      await image.debugfs(`symlink ${etc}/multi-user.target.wants/never.service ../never.service`);
    },
  },
  {
    fault: 'the shutdown never ends',
    slow: true,
    ...{ base: 'hybrid', firmware: 'bios', stage: 'shutdown', name: 'hang', cause: /did not power off/ },
    breakIt: (image) => changeInittab(image, (table) => `${table}::shutdown:/bin/sh -c 'while :; do sleep 1; done'\n`),
  },
  {
    fault: 'kernel panics during the shutdown',
    ...{ base: 'hybrid', firmware: 'bios', stage: 'shutdown', name: 'kernel-panic', cause: /sysrq triggered crash/ },
    breakIt: (image) =>
      changeInittab(image, (table) => `::shutdown:/bin/sh -c 'echo c > /proc/sysrq-trigger'\n${table}`),
  },
];
