import { expect, test } from 'vitest';
import { News } from '../../../../harness/verdict/news.ts';

test('a repeated line is not new, nor is a counting number', () => {
  const news = new News();
  expect(news.line("error: no such device: 'x'")).toBe(true);
  expect(news.line("error: no such device: 'x'")).toBe(false);
  expect(news.repeated).toMatch(/no such device/);
  expect(news.line('Waiting 3 s')).toBe(true);
  expect(news.line('Waiting 4 s')).toBe(false);
  expect(news.line('something else')).toBe(true);
  expect(news.repeated).toBeUndefined();
});

test('a growing row of dots is not new', () => {
  const news = new News();
  expect(news.line('waiting for device to appear .')).toBe(true);
  expect(news.line('waiting for device to appear ..')).toBe(false);
  expect(news.line('waiting for device to appear ..........')).toBe(false);
});

test('a countdown is new', () => {
  const news = new News();
  for (const seconds of [5, 4, 3])
    expect(news.line(`The highlighted entry will be executed automatically in ${seconds}s.`)).toBe(true);
});

test.each([
  ['[  *** ] A start job is running for /dev/disk/by-uuid/5d1c (12s / no limit)', '/dev/disk/by-uuid/5d1c', undefined],
  ['[ ***  ] (1 of 2) Job dev-vdb.device/start running (17s / 1min 30s)', 'dev-vdb.device', 90_000],
  ['[***   ] A stop job is running for Session 1 of User root (5s / 2min 3s)', 'Session 1 of User root', 123_000],
])('the job that systemd waits for: %s', (line, unit, limitMs) => {
  const news = new News();
  news.line(line);
  expect(news.job).toEqual({ unit, limitMs });
  news.line('[  OK  ] Reached target something.');
  expect(news.job).toBeUndefined();
});
