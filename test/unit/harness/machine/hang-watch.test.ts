import { expect, test } from 'vitest';
import { HangWatch, type Pulse, type Standstill } from '../../../../harness/machine/hang-watch.ts';

const BUDGET = { busyMs: 25_000, idleMs: 120_000 };

const pulse = (more: Partial<Pulse>): Pulse => ({
  ...{ passedMs: 500, computedMs: 500, waitedMs: 0, saidNews: false, said: false, address: undefined, usedDisk: false },
  ...more,
});

/** Looks twice a second for a given time. @returns the seconds after which the machine hangs. */
function watch(
  seconds: number,
  each: (look: number) => Partial<Pulse>,
  early = false,
): [Standstill, number] | undefined {
  const hang = new HangWatch(500);
  for (let look = 0; look < seconds * 2; look += 1) {
    const found = hang.look(pulse(each(look)), BUDGET, early);
    if (found !== undefined) return [found, look / 2];
  }
  return undefined;
}

test.each([
  ['a few pages of the kernel', 0xffff_ffff_8100_0000n, 5, 25],
  ['one or two pages of a program', 0x40_1000n, 2, 25],
  ['more pages of a program, which may generate a large key', 0x40_1000n, 5, 200],
])('a CPU that stays in %s is in a loop', (_, first, pages, seconds) => {
  const found = watch(300, (look) => ({ address: first + BigInt(look % pages) * 4096n, space: 7n }));
  expect(found?.[0]).toBe('loop');
  expect(found?.[1]).toBeCloseTo(seconds, 0);
});

test('a CPU that reaches new pages, switches between processes or reads from the disk is working', () => {
  expect(watch(120, (look) => ({ address: BigInt(look) * 65_536n, space: 7n }))).toBeUndefined();
  expect(watch(120, (look) => ({ address: 0x401000n, space: BigInt(look % 9) }))).toBeUndefined();
  expect(watch(120, () => ({ address: 0x401000n, space: 7n, usedDisk: true }))).toBeUndefined();
});

test('an idle machine and one that repeats itself have the same limit', () => {
  expect(watch(200, () => ({ computedMs: 5 }))).toEqual(['idle', 120]);
  expect(watch(200, () => ({ computedMs: 5, said: true }))?.[0]).toBe('repeats');
});

test('a machine that still prints the same now and then repeats itself; one that computes since then is working', () => {
  expect(watch(200, (look) => ({ computedMs: 5, said: look % 100 === 99 }))).toEqual(['repeats', 120]);
  const address = (look: number) => ({ address: 0x40_1000n + BigInt(look % 5) * 4096n, space: 7n });
  expect(watch(300, (look) => ({ ...address(look), said: look === 1 }))?.[0]).toBe('loop');
  expect(watch(190, (look) => ({ ...address(look), said: look < 6 }))).toBeUndefined();
});

test('new output resets all times', () => {
  expect(watch(400, (look) => ({ computedMs: 5, saidNews: look % 200 === 0 }))).toBeUndefined();
});

test('time in which the host ran other processes, or was suspended, does not count', () => {
  expect(watch(200, () => ({ computedMs: 50, waitedMs: 450 }))).toBeUndefined();
  const hang = new HangWatch(500);
  expect(hang.look(pulse({ passedMs: 600_000, computedMs: 10 }), BUDGET, false)).toBeUndefined();
  expect(hang.silentMs).toBeLessThan(2000);
});
