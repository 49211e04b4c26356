import { expect, test } from 'vitest';
import { parseSystemdTimes } from '../../../../harness/verify/systemd-times.ts';

/** As `systemctl show` prints them. */
function properties(times: Readonly<Record<string, number>>): string {
  return Object.entries(times)
    .map(([name, microseconds]) => `${name}TimestampMonotonic=${microseconds}`)
    .join('\n');
}

test('a boot by GRUB with an initrd that is a script, from a real one', () => {
  const output = properties({ Firmware: 0, Loader: 0, InitRD: 0, Userspace: 35_178_742, Finish: 38_729_062 });
  expect(parseSystemdTimes(output)).toEqual({
    ...{ firmwareMs: undefined, loaderMs: undefined, initrdMs: undefined },
    ...{ kernelMs: 35_178.742, userspaceMs: 3550.32 },
  });
});

test('firmware and loader count backwards from the kernel, and the initrd is a part of its own', () => {
  // 2.1 s + 0.9 s before the kernel; then 1.5 s, 2.5 s, 3 s.
  const output = properties({ Firmware: 3e6, Loader: 0.9e6, InitRD: 1.5e6, Userspace: 4e6, Finish: 7e6 });
  expect(parseSystemdTimes(output)).toEqual({
    ...{ firmwareMs: 2100, loaderMs: 900, kernelMs: 1500, initrdMs: 2500, userspaceMs: 3000 },
  });
});

test('a boot that is not finished has no end', () => {
  expect(parseSystemdTimes(properties({ Userspace: 4e6, Finish: 0 }))?.userspaceMs).toBeUndefined();
});

test.each([
  '',
  'sh: systemctl: not found',
  'UserspaceTimestampMonotonic=',
  'UserspaceTimestampMonotonic=0',
  'Failed to connect to bus',
])('where systemd says nothing, nothing is known: %j', (output) => {
  expect(parseSystemdTimes(output)).toBeUndefined();
});
