import { expect, test } from 'vitest';
import { KernelClock, kernelStamp } from '../../../../harness/verdict/kernel-clock.ts';
import { StageTracker } from '../../../../harness/verdict/stages.ts';
import { healthyConsole } from '../../../helpers/boot-reports.ts';

/** The clock behind lines that arrive a millisecond apart. */
function clockAfter(lines: readonly string[], startMs = 0): KernelClock {
  const [clock, stages] = [new KernelClock(), new StageTracker()];
  for (const [index, line] of lines.entries()) {
    stages.line(line, startMs + index);
    clock.line(line, startMs + index, stages.reached);
  }
  return clock;
}

test.each([
  ['busybox-grub-bios', 10_018.915],
  ['debian-12-bios', 7309.207],
  ['debian-12-luks', 6429.548],
])('until the first program of a real boot: %s', (name, userspaceMs) => {
  expect(clockAfter(healthyConsole(name)).times?.userspaceMs).toBeCloseTo(userspaceMs, 3);
});

test('a kernel that is quiet has said nothing of it', () => {
  expect(clockAfter(healthyConsole('busybox-uki-systemd-boot')).times).toBeUndefined();
});

test('its zero is where its first line came, also when it runs faster than the clock of this host', () => {
  const clock = new KernelClock();
  clock.line('[    0.000000] Linux version 6.1.0', 5000, 'kernel');
  clock.line('[    1.000000] Console: colour VGA+ 80x25', 5100, 'kernel');
  clock.line('[    9.000000] virtio_blk virtio0', 6150, 'kernel');
  expect(clock.times).toEqual({ startedAtMs: 5000, userspaceMs: 9000 });
});

test('what looks like a line of it behind the first program does not count; nor does what was before a restart', () => {
  const clock = clockAfter(
    ['[    0.000000] Linux version 6.1.0', '[    1.000000] a', '<<< NixOS Stage 1 >>>', '[    9.000000] b'],
    4000,
  );
  expect(clock.times).toEqual({ startedAtMs: 4000, userspaceMs: 1000 });
  clock.restart();
  expect(clock.times).toBeUndefined();
});

test.each([
  ['[    1.234567] a', 1234.567],
  ['<6>[   12.000000] a', 12_000],
  ['[    1.500000][    T1] a', 1500],
  ['[  OK  ] Started a', undefined],
  ['a [    1.234567] b', undefined],
])('%s', (line, milliseconds) => {
  expect(kernelStamp(line)).toBe(milliseconds);
});
