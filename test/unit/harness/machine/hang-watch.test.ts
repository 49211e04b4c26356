import { expect, test } from 'vitest';
import { HangWatch, type Pulse, type Standstill } from '../../../../harness/machine/hang-watch.ts';

const BUDGET = { busyMs: 25_000, idleMs: 120_000 };

const pulse = (more: Partial<Pulse>): Pulse => ({
  ...{ passedMs: 500, computedMs: 500, waitedMs: 0, saidNews: false, said: false, address: undefined, usedDisk: false },
  ...more,
});

/** Looks for so long, twice a second, and says after how many seconds it stands still. */
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
  ['a few places of the kernel', 0xffff_ffff_8100_0000n, 5, 25],
  ['one or two pages of a program', 0x40_1000n, 2, 25],
  ['more of a program, which may make a large key', 0x40_1000n, 5, 200],
])('a processor that stays in %s is in a loop', (_, first, pages, seconds) => {
  const found = watch(300, (look) => ({ address: first + BigInt(look % pages) * 4096n, space: 7n }));
  expect(found?.[0]).toBe('loop');
  expect(found?.[1]).toBeCloseTo(seconds, 0);
});

test('one that comes to new places works, and so does one that goes from process to process, or reads its disk', () => {
  expect(watch(120, (look) => ({ address: BigInt(look) * 65_536n, space: 7n }))).toBeUndefined();
  expect(watch(120, (look) => ({ address: 0x401000n, space: BigInt(look % 9) }))).toBeUndefined();
  expect(watch(120, () => ({ address: 0x401000n, space: 7n, usedDisk: true }))).toBeUndefined();
});

test('a machine that does nothing, or says the same again, may do so for as long', () => {
  expect(watch(200, () => ({ computedMs: 5 }))).toEqual(['idle', 120]);
  expect(watch(200, () => ({ computedMs: 5, said: true }))?.[0]).toBe('repeats');
});

test('one that says the same from time to time repeats itself; one that did, and computes since, is at work', () => {
  expect(watch(200, (look) => ({ computedMs: 5, said: look % 100 === 99 }))).toEqual(['repeats', 120]);
  const address = (look: number) => ({ address: 0x40_1000n + BigInt(look % 5) * 4096n, space: 7n });
  expect(watch(300, (look) => ({ ...address(look), said: look === 1 }))?.[0]).toBe('loop');
  expect(watch(190, (look) => ({ ...address(look), said: look < 6 }))).toBeUndefined();
});

test('news begin it anew', () => {
  expect(watch(400, (look) => ({ computedMs: 5, saidNews: look % 200 === 0 }))).toBeUndefined();
});

test('time for which the host ran others, or stood still, is not the machine’s', () => {
  expect(watch(200, () => ({ computedMs: 50, waitedMs: 450 }))).toBeUndefined();
  const hang = new HangWatch(500);
  expect(hang.look(pulse({ passedMs: 600_000, computedMs: 10 }), BUDGET, false)).toBeUndefined();
  expect(hang.silentMs).toBeLessThan(2000);
});
