import { test as base, expect, TestRunner } from 'vitest';
import type { Machine } from './machine/machine.ts';
import type { MachineSpec } from './machine/machine-spec.ts';
import { startMachine } from './machine/start-machine.ts';
import { renderText } from './report/text.ts';
import type { BootReport } from './verify/boot-report.ts';
import type { BootCheck } from './verify/checks.ts';
import { type VerifyBootOptions, verifyBoot } from './verify/verify-boot.ts';

export { expect } from 'vitest';

/** Starts a machine that ends, with its private files, when its test does. */
export type StartTestMachine = (spec: MachineSpec) => Promise<Machine>;

/** vitest's `test`, with a fixture `machine`: `const vm = await machine({ image, firmware: 'efi' })`. A test that times out
 *  ends its machines too. */
export const test = base.extend<{ readonly machine: StartTestMachine }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads from it which other fixtures this one needs.
  machine: async ({}, use) => {
    const started: Machine[] = [];
    const abort = new AbortController();
    await use(async (spec) => {
      const machine = await startMachine(spec, { signal: abort.signal });
      started.push(machine);
      return machine;
    });
    abort.abort(new Error('the test has ended'));
    for (const machine of started) await machine[Symbol.asyncDispose]();
  },
});

/** What toBoot is told of a boot: where and how, and what must be true inside. */
export type BootExpectation = Omit<VerifyBootOptions, 'image'>;

interface BootMatchers<R = unknown> {
  /** The image boots, its checks pass, and it shuts down: `await expect(image).toBoot({ firmware: 'efi' })`. */
  toBoot(expectation: BootExpectation): Promise<R>;
  /** The image does not boot, for this reason: the name of a failure pattern or of a finding, such as "no-boot-code". */
  toFailBooting(failure: string, expectation: BootExpectation): Promise<R>;
}

declare module 'vitest' {
  interface TaskMeta {
    /** What became of the boots of a test, for vitest-reporter. */
    boots?: BootReport[];
  }
  // biome-ignore lint/suspicious/noExplicitAny: declarations merge only with the parameters that vitest's own has.
  interface Matchers<T = any> extends BootMatchers<T> {}
}

expect.extend({
  async toBoot(image: string, expectation: BootExpectation) {
    const report = recordBoot(await verifyBoot({ ...expectation, image }));
    return {
      pass: report.ok,
      message: () =>
        report.ok ? `expected ${image} not to boot, and it does\n${renderText(report)}` : renderText(report),
    };
  },
  async toFailBooting(image: string, failure: string, expectation: BootExpectation) {
    const report = recordBoot(await verifyBoot({ ...expectation, image }));
    return {
      pass: report.failure?.name === failure,
      message: () => `expected the boot of ${image} to end with "${failure}"\n${renderText(report)}`,
    };
  },
});

/** Puts a boot's report with the test that runs, where vitest-reporter finds it. */
export function recordBoot(report: BootReport): BootReport {
  const meta = TestRunner.getCurrentTest()?.meta;
  if (meta !== undefined) meta.boots = [...(meta.boots ?? []), report];
  return report;
}

/** A check that a test writes down in place. @returns what was found, for the report. */
export function check(name: string, run: (machine: Machine) => Promise<string | undefined>): BootCheck {
  return { name, run };
}
