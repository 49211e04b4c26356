import { expect, test } from 'vitest';
import { compareBoot, renderComparison, summarize, type TimedBoot } from '../../../../harness/report/compare.ts';
import { GOOD_BOOT } from '../../../helpers/boot-reports.ts';

const before = GOOD_BOOT;

/** The same boot, whose stages from `stage` on come later. */
function later(stage: string, byMs: number): TimedBoot {
  const from = before.timeline.findIndex((one) => one.stage === stage);
  return {
    ...before,
    timeline: before.timeline.map((one, index) => (index < from ? one : { ...one, atMs: one.atMs + byMs })),
    durationMs: before.durationMs + byMs,
  };
}

test('says which stage got slower, with both times', () => {
  const comparison = compareBoot([before], later('init', 1000));
  expect(comparison?.changes).toContainEqual({ what: 'stage 1', beforeMs: 900, nowMs: 1900, change: 'slower' });
  expect(comparison && summarize(comparison)).toBe('Slower than before: stage 1 takes 1.9 s, was 0.9 s.');
  const back = compareBoot([later('init', 1000)], before);
  expect(back && summarize(back)).toBe('Faster than before: stage 1 takes 0.9 s, was 1.9 s.');
});

test('what is within 20 %, or within half a second, is not marked', () => {
  // 2200 ms of the loader: 20 % are 440 ms. 180 ms of the firmware: more than 20 % are still few.
  for (const now of [later('kernel', 500), later('loader', 500), later('login', 530)]) {
    const comparison = compareBoot([before], now);
    expect(comparison?.changes.map(({ change }) => change)).not.toContain('slower');
    expect(comparison && summarize(comparison)).toBe('Nothing got slower or faster by more than 20 % and 0.5 s.');
  }
});

test('the login, the checks after it and a stage that did not end are no stages to compare', () => {
  const now = { ...before, timeline: before.timeline.slice(0, 3), durationMs: 200_000 };
  const comparison = compareBoot([before], now);
  expect(comparison?.changes).toContainEqual({ what: 'kernel', beforeMs: 1900, nowMs: undefined, change: undefined });
  expect(comparison?.changes).toContainEqual({
    what: 'until the login',
    beforeMs: 8000,
    nowMs: undefined,
    change: undefined,
  });
  expect(comparison?.changes.map(({ what }) => what)).not.toContain('login');
});

test("the guest's own clocks are shown, and tell something under KVM", () => {
  const [what, times] = ['kernel, by its own clock', { startedAtMs: 0, userspaceMs: 4000 }];
  const change = (accelerator: 'kvm' | 'tcg') =>
    compareBoot([{ ...before, accelerator }], { ...before, accelerator, kernelTimes: times })?.changes.find(
      (one) => one.what === what,
    );
  expect(change('kvm')).toEqual({ what, beforeMs: 1900, nowMs: 4000, change: 'slower' });
  expect(change('tcg')).toEqual({ what, beforeMs: 1900, nowMs: 4000, change: undefined });
});

test('the boot in the same firmware is compared, if there is one', () => {
  const efi = { ...before, firmware: 'efi' as const };
  expect(compareBoot([before], efi)).toBeUndefined();
  expect(renderComparison(efi, undefined)).toContain('the earlier run has no boot in EFI');
  expect(
    compareBoot([before, later('init', 5000), efi], efi)?.changes.every(({ change }) => change === undefined),
  ).toBe(true);
});

test('times under KVM and TCG are not compared', () => {
  const comparison = compareBoot([{ ...before, accelerator: 'kvm' }], later('init', 9000));
  expect(comparison?.changes.every(({ change }) => change === undefined)).toBe(true);
  expect(comparison?.notes).toEqual([
    'The earlier run used KVM and this one TCG: their times say nothing of the image.',
  ]);
});

test('another image, and a host that may be busier, are said', () => {
  const slow = {
    ...before,
    image: 'other.img',
    timeline: before.timeline.map((one) => ({ ...one, atMs: one.atMs * 3 })),
  };
  const comparison = compareBoot([before], slow);
  expect(comparison?.notes).toHaveLength(2);
  expect(comparison?.notes[0]).toContain('a busier host shows the same');
  expect(comparison?.notes[1]).toBe('The earlier run was of images/nixos.img.');
});

test('the table for a terminal has both times and the mark', () => {
  const now = later('init', 1000);
  expect(renderComparison(now, compareBoot([before], now)).split('\n')).toContain(
    '    stage 1                          0.9 s    1.9 s  slower',
  );
});
