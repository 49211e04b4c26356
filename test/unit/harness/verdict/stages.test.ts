import { expect, test } from 'vitest';
import { isBefore, StageTracker } from '../../../../harness/verdict/stages.ts';

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

test('no stage comes before each, and a machine that starts again has none', () => {
  expect(isBefore(undefined, 'firmware')).toBe(true);
  expect(isBefore('init', 'kernel')).toBe(false);
  const tracker = new StageTracker();
  tracker.feed('Linux version 6.1\n', 1);
  tracker.restart();
  expect(tracker.reached).toBeUndefined();
});

test('a prompt that a kernel’s line cuts in two is a prompt', () => {
  const tracker = new StageTracker();
  tracker.feed('Welcome to NixOS!\n\ndemo lo', 1);
  expect(tracker.reached).toBe('init');
  tracker.feed('[   12.345678] random: crng init done\n', 2);
  tracker.feed('gin: ', 3);
  expect(tracker.reached).toBe('login');
});
