import { expect, test } from 'vitest';
import { isBefore, StageTracker } from '../../../../harness/verdict/stages.ts';

function stagesOf(...lines: string[]): string[] {
  const tracker = new StageTracker();
  for (const [index, line] of lines.entries()) tracker.line(line, index);
  return tracker.seen.map(({ stage }) => stage);
}

test('each stage is recorded once, in order, and a prompt alone is not a stage', () => {
  expect(
    stagesOf(
      ...['SeaBIOS (version 1.16)', 'Booting from Hard Disk...', 'GRUB loading.', '[    0.000000] Linux version 6.1'],
      ...[
        'Run /init as init process',
        '<<< NixOS Stage 2 >>>',
        'starting systemd...',
        'Welcome to Demo!',
        'demo login: ',
      ],
    ),
  ).toEqual(['firmware', 'loader', 'kernel', 'stage 1', 'stage 2', 'init']);
});

test('undefined comes before every stage, and a restarted machine has no stage', () => {
  expect(isBefore(undefined, 'firmware')).toBe(true);
  expect(isBefore('init', 'kernel')).toBe(false);
  const tracker = new StageTracker();
  tracker.line('Linux version 6.1', 1);
  tracker.restart();
  expect(tracker.reached).toBeUndefined();
});

/** Lines that announce an initrd or an init. */
test.each([
  ['Welcome to NixOS 25.11 (Xantusia) (Initrd)!', 'stage 1'],
  ['Booting initrd of NixOS 26.05 (Yarara) (Initrd).', 'stage 1'],
  ['Welcome to Fedora Linux 38 (Cloud Edition) dracut-059-4.fc38 (Initramfs)!', 'stage 1'],
  ['Loading, please wait...', 'stage 1'],
  [':: running early hook [udev]', 'stage 1'],
  ['[    1.234567] Run /init as init process', 'stage 1'],
  ['[    1.234567] Run /sbin/init as init process', 'init'],
  ['Welcome to Debian GNU/Linux 12 (bookworm)!', 'init'],
  ['INIT: version 3.06 booting', 'init'],
  ['   OpenRC 0.45.2 is starting up Linux 6.6.31-0-virt (x86_64)', 'init'],
  ['- runit: enter stage: /etc/runit/1', 'init'],
  ['  init created by s6-linux-init-maker', 'init'],
  ['procd: - early -', 'init'],
])('%s', (line, stage) => {
  expect(stagesOf('Linux version 6.1', line).at(-1)).toBe(stage);
});

test('systemd prints the same in the initrd and on the root, except for one line', () => {
  const starts = '[    2.100000] systemd[1]: systemd 257.6 running in system mode (+PAM)';
  const detected = '[    2.200000] systemd[1]: Detected architecture x86-64.';
  const named = '[    2.300000] systemd[1]: Hostname set to <nixos>.';
  expect(stagesOf(starts, detected, '[    2.250000] systemd[1]: Running in initrd.', named).at(-1)).toBe('stage 1');
  expect(stagesOf(starts, detected, named).at(-1)).toBe('init');
});
