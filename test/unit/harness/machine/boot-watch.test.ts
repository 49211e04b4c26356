import { expect, test } from 'vitest';
import { BootWatch } from '../../../../harness/machine/boot-watch.ts';

test('a line that ends after a pause is said once; said again, it is a repetition', () => {
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

test('what comes behind a pause is news', () => {
  const watch = new BootWatch();
  watch.feed('making the key', 0);
  watch.pause(0);
  watch.feed(' … done\n', 1000);
  expect(watch.newsCount).toBe(2);
});
