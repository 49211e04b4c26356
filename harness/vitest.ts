import { test as base, expect, type RunnerTestCase, TestRunner } from 'vitest';
import { InvalidOptionsError } from '../lib/run/errors.ts';
import type { Machine } from './machine/machine.ts';
import type { MachineOptions } from './machine/machine-spec.ts';
import { startMachine } from './machine/start-machine.ts';
import type { BootExpected } from './report/reported-boot.ts';
import { renderText } from './report/text.ts';
import type { BootReport } from './verify/boot-report.ts';
import type { BootCheck } from './verify/checks.ts';
import { type VerifyBootOptions, verifyBoot } from './verify/verify-boot.ts';

export { expect } from 'vitest';

/** Starts a machine that ends, with its private files, when its test does. */
export type StartTestMachine = (spec: MachineOptions) => Promise<Machine>;

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

/** A boot, and what the test that it belongs to expected of it. */
export interface RecordedBoot extends BootReport {
  readonly expected?: BootExpected | undefined;
}

interface BootMatchers<R = unknown> {
  /** The image boots, its checks pass, and it shuts down: `await expect(image).toBoot({ firmware: 'efi' })`. A test that times out
   *  ends its machine. */
  toBoot(expectation: BootExpectation): Promise<R>;
  /** The image does not boot, for this reason: the name of a failure pattern or of a finding, such as "no-boot-code". */
  toFailBooting(failure: string, expectation: BootExpectation): Promise<R>;
}

declare module 'vitest' {
  interface TaskMeta {
    /** What became of the boots of a test, for vitest-reporter. */
    boots?: RecordedBoot[];
  }
  // biome-ignore lint/suspicious/noExplicitAny: declarations merge only with the parameters that vitest's own has.
  interface Matchers<T = any> extends BootMatchers<T> {}
}

expect.extend({
  async toBoot(image: unknown, expectation: BootExpectation) {
    const { isNot, task = TestRunner.getCurrentTest() } = this;
    const report = await bootFor('toBoot', image, expectation, task);
    record(task, { ...report, expected: { outcome: isNot ? 'not to boot' : 'to boot', met: report.ok !== isNot } });
    return {
      pass: report.ok,
      message: () =>
        report.ok ? `expected ${report.image} not to boot, and it does\n${renderText(report)}` : renderText(report),
    };
  },
  async toFailBooting(image: unknown, failure: unknown, expectation: BootExpectation) {
    const { isNot, task = TestRunner.getCurrentTest() } = this;
    if (typeof failure !== 'string' || failure === '')
      throw wrong(
        'toFailBooting',
        'failure',
        `must be the name of a failure, such as "no-boot-code"; it is ${kindOf(failure)}`,
      );
    const report = await bootFor('toFailBooting', image, expectation, task);
    const pass = report.failure?.name === failure;
    record(task, {
      ...report,
      expected: { outcome: `${isNot ? 'not ' : ''}to end with "${failure}"`, met: pass !== isNot },
    });
    return {
      pass,
      message: () =>
        `expected the boot of ${report.image} ${isNot ? 'not ' : ''}to end with "${failure}"\n${renderText(report)}`,
    };
  },
});

type CurrentTest = Pick<RunnerTestCase, 'meta' | 'context'>;

/** Boots it for as long as the test runs. What is wrong with the options is an error of the test's, also of one that expects no boot. */
async function bootFor(
  matcher: string,
  image: unknown,
  expectation: BootExpectation,
  task: CurrentTest | undefined,
): Promise<BootReport> {
  if (typeof image !== 'string' || image === '')
    throw wrong(matcher, 'image', `must be the path of a disk image; it is ${kindOf(image)}${suggestPath(image)}`);
  if (typeof expectation !== 'object' || expectation === null)
    throw wrong(matcher, '', `needs to be told where and how to boot: ${matcher}({ firmware: 'efi' })`);
  if ('image' in expectation)
    throw wrong(matcher, 'image', 'is what expect() is given, and cannot be an option as well');
  return verifyBoot({ ...expectation, image }, { signal: task?.context.signal });
}

function wrong(matcher: string, path: string, message: string): InvalidOptionsError {
  return new InvalidOptionsError(matcher, [{ path, message }]);
}

function kindOf(value: unknown): string {
  if (value === '' || value === null) return JSON.stringify(value);
  return Array.isArray(value) ? 'an array' : typeof value === 'object' ? 'an object' : `${typeof value}`;
}

/** What buildImage returns is near at hand. */
function suggestPath(value: unknown): string {
  const isBuilt = typeof value === 'object' && value !== null && 'image' in value;
  return isBuilt ? '; did you mean its "image"?' : '';
}

/** Puts a boot's report with the test that runs, where vitest-reporter finds it. */
export function recordBoot(report: BootReport): BootReport {
  record(TestRunner.getCurrentTest(), report);
  return report;
}

function record(task: CurrentTest | undefined, boot: RecordedBoot): void {
  if (task !== undefined) task.meta.boots = [...(task.meta.boots ?? []), boot];
}

/** A check that a test writes down in place. @returns what was found, for the report. */
export function check(name: string, run: (machine: Machine) => Promise<string | undefined>): BootCheck {
  return { name, run };
}
