import { loginOnScreen, withoutConsole } from '../changes.ts';
import type { Fault } from '../fault.ts';
import { ACTIVATION, GRUB_CFG } from '../parts.ts';

/** Stage 2, init, login and shutdown. */
export const INIT_FAULTS: readonly Fault[] = [
  {
    fault: 'activation fails',
    ...{
      base: 'hybrid',
      firmware: 'legacy',
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
      firmware: 'legacy',
      stage: 'stage 2',
      name: 'kernel-panic-init-died',
      cause: /Attempted to kill init/,
    },
    breakIt: (image) =>
      image.changeSystem('init', (script) => script.replace('running activation script', 'leaving"; exit 3; echo "')),
  },
  {
    fault: 'init loops without a word',
    ...{ base: 'hybrid', firmware: 'legacy', stage: 'stage 2', name: 'hang', cause: /hangs in a loop/ },
    breakIt: (image) => image.changeSystem('init', (script) => script.replace(ACTIVATION, 'while :; do :; done')),
  },
  {
    fault: 'init restarts the machine',
    ...{ base: 'hybrid', firmware: 'legacy', stage: 'stage 2', name: 'machine-reset', cause: /restarted itself/ },
    breakIt: (image) => image.changeSystem('init', (script) => script.replace(ACTIVATION, 'reboot -f')),
  },
  {
    fault: 'full disk',
    ...{ base: 'hybrid', firmware: 'legacy', stage: 'stage 1', name: 'filesystem-full', cause: /free bytes/ },
    breakIt: async (image) => {
      const free = Number(/Free blocks: +(\d+)/.exec(await image.debugfs('stats'))?.[1]);
      await image.debugfs('write /dev/null filler', `fallocate filler 0 ${free - 40}`);
    },
  },
  {
    fault: 'filesystem marked as having errors',
    ...{ base: 'hybrid', firmware: 'legacy', stage: 'image', name: 'filesystem-errors', cause: /having errors/ },
    breakIt: async (image) => {
      await image.debugfs('set_super_value state 2');
    },
  },
  {
    fault: 'no serial console in the parameters (BIOS)',
    ...{
      base: 'hybrid',
      firmware: 'legacy',
      stage: 'login',
      name: 'no-serial-console',
      cause: /screen shows a login prompt|screen shows that it came to/,
    },
    breakIt: async (image) => {
      await image.changeOnEsp(GRUB_CFG, withoutConsole);
      await loginOnScreen(image);
    },
  },
  {
    fault: 'the login asks for a password',
    ...{ base: 'hybrid', firmware: 'legacy', stage: 'login', name: 'login-refused', cause: /refused|password/ },
    machine: { login: { user: 'nobody-of-that-name' } },
    breakIt: async () => {},
  },
  {
    fault: 'too little memory',
    ...{
      base: 'hybrid',
      firmware: 'legacy',
      stage: 'loader',
      name: 'grub-error',
      cause: /out of memory/,
    },
    machine: { memoryMiB: 80 },
    breakIt: async () => {},
  },
];
