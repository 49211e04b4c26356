import { expect, test } from 'vitest';
import { FailureWatcher } from '../../../../harness/console/failures.ts';
import { StageTracker } from '../../../../harness/console/stages.ts';

test('stages are noted once, in order, whatever the pieces', () => {
  const tracker = new StageTracker();
  const console =
    'SeaBIOS (version 1.16)\nBooting from Hard Disk...\nGRUB loading.\n[    0.000000] Linux version 6.1\nRun /init as init process\n<<< NixOS Stage 2 >>>\nstarting systemd...\nWelcome to Demo!\ndemo login: ';
  for (const [index, character] of [...console].entries()) tracker.feed(character, index);
  expect(tracker.seen.map(({ stage }) => stage)).toEqual([
    'firmware',
    'loader',
    'kernel',
    'stage 1',
    'stage 2',
    'init',
    'login',
  ]);
  expect(tracker.seen.map(({ atMs }) => atMs)).toEqual([...tracker.seen.map(({ atMs }) => atMs)].sort((a, b) => a - b));
});

test('a failure is seen in the piece that completes it', () => {
  const watcher = new FailureWatcher();
  expect(watcher.feed('...Kernel panic - not syn', 1)).toBeUndefined();
  expect(watcher.feed('cing: Attempted to kill init! exitcode=0x100\n', 2)?.pattern.name).toBe(
    'kernel panic: init died',
  );
});

test.each([
  ['No bootable device.', 'no bootable device'],
  ['error: no such partition.\ngrub rescue> ', 'grub rescue'],
  ["error: file `/vmlinuz' not found.\nerror: you need to load the kernel first.", 'grub error'],
  ['UEFI Interactive Shell v2.2', 'UEFI shell'],
  ['[ 1.0] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)', 'kernel panic: no root'],
  ['You are in emergency mode. After logging in', 'emergency'],
])('%s', (text, name) => {
  expect(new FailureWatcher().feed(`${text}\n`, 0)?.pattern.name).toBe(name);
});

test.each([
  'error: no such device: /grub/grub.cfg.\n  Booting',
  'error: no suitable video mode found.\nBooting in blind mode\n',
])('GRUB goes on after: %s', (text) => {
  expect(new FailureWatcher().feed(text, 0)).toBeUndefined();
});
