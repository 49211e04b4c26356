import { expect, test } from 'vitest';
import { BootWatch } from '../../../../harness/machine/boot-watch.ts';

test('a line that ends after a pause counts once; the same line again is a repetition', () => {
  const watch = new BootWatch();
  watch.feed('making the key', 0);
  watch.pause(0);
  expect(watch.newsCount).toBe(1);
  watch.feed('\n', 1000);
  expect(watch.news.repeated).toBeUndefined();
  watch.feed('making the key\n', 2000);
  expect(watch.newsCount).toBe(1);
  expect(watch.news.repeated).toBe('making the key');
});

test('text after a pause is new', () => {
  const watch = new BootWatch();
  watch.feed('making the key', 0);
  watch.pause(0);
  watch.feed(' … done\n', 1000);
  expect(watch.newsCount).toBe(2);
});

test('a question that ended its line stays the last line if kernel messages follow; a question of the loader does not', () => {
  const watch = new BootWatch();
  watch.feed('Press any key to continue...\n[    0.000000] Linux version 6.1.0\n', 1);
  expect(watch.lastLine).toBe('[    0.000000] Linux version 6.1.0');
  watch.feed('[    1.000000] Run /init as init process\nPress any key to continue...\n', 2);
  watch.feed('[    2.170108] tsc: Refined TSC clocksource calibration: 2596.120 MHz\n', 3);
  expect(watch.lastLine).toBe('Press any key to continue...');
  watch.feed('Welcome\n', 4);
  expect(watch.lastLine).toBe('Welcome');
});
