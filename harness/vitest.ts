/// <reference types="node" preserve="true" />
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

/** Starts a machine that is ended, and its private files removed, at the end of the test. */
export type StartTestMachine = (spec: MachineOptions) => Promise<Machine>;

/** vitest's `test` with a fixture `machine`: `const vm = await machine({ image, firmware: 'efi' })`. The machines also end if the
 *  test times out. */
export const test = base.extend<{ readonly machine: StartTestMachine }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads the required fixtures from this pattern.
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

/** The options of toBoot: the machine, the login and the checks. */
export type BootExpectation = Omit<VerifyBootOptions, 'image'>;

/** A boot, and what its test expected. */
export interface RecordedBoot extends BootReport {
  readonly expected?: BootExpected | undefined;
}

interface BootMatchers<R = unknown> {
  /** Asserts that the image boots, its checks pass and it shuts down: `await expect(image).toBoot({ firmware: 'efi' })`. The
   *  machine also ends if the test times out. */
  toBoot(expectation: BootExpectation): Promise<R>;
  /** Asserts that the boot fails for this reason: the name of a failure pattern, a question or a finding, such as "no-boot-code". */
  toFailBooting(failure: string, expectation: BootExpectation): Promise<R>;
}

declare module 'vitest' {
  interface TaskMeta {
    /** The results of a test's boots, for vitest-reporter. */
    boots?: RecordedBoot[];
  }
  // biome-ignore lint/suspicious/noExplicitAny: a declaration merges only if it has the type parameters of vitest's own.
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
        report.ok ? `expected ${report.image} not to boot, but it boots\n${renderText(report)}` : renderText(report),
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

/** Boots the image for as long as the test runs. Invalid options fail the test, also if it expects the boot to fail. */
async function bootFor(
  matcher: string,
  image: unknown,
  expectation: BootExpectation,
  task: CurrentTest | undefined,
): Promise<BootReport> {
  if (typeof image !== 'string' || image === '')
    throw wrong(matcher, 'image', `must be the path of a disk image; it is ${kindOf(image)}${suggestPath(image)}`);
  if (typeof expectation !== 'object' || expectation === null)
    throw wrong(matcher, '', `requires options with the firmware to boot: ${matcher}({ firmware: 'efi' })`);
  if ('image' in expectation) throw wrong(matcher, 'image', 'is the argument of expect() and cannot also be an option');
  return verifyBoot({ ...expectation, image }, { signal: task?.context.signal });
}

function wrong(matcher: string, path: string, message: string): InvalidOptionsError {
  return new InvalidOptionsError(matcher, [{ path, message }]);
}

function kindOf(value: unknown): string {
  if (value === '' || value === null) return JSON.stringify(value);
  return Array.isArray(value) ? 'an array' : typeof value === 'object' ? 'an object' : `${typeof value}`;
}

/** Suggests the `image` property to a test that passed the result of buildImage. */
function suggestPath(value: unknown): string {
  const isBuilt = typeof value === 'object' && value !== null && 'image' in value;
  return isBuilt ? '; did you mean its "image"?' : '';
}

/** Attaches a boot's report to the current test, for vitest-reporter. */
export function recordBoot(report: BootReport): BootReport {
  record(TestRunner.getCurrentTest(), report);
  return report;
}

function record(task: CurrentTest | undefined, boot: RecordedBoot): void {
  if (task !== undefined) task.meta.boots = [...(task.meta.boots ?? []), boot];
}

/** Defines a check inline. `run` returns what it found, for the report. */
export function check(name: string, run: (machine: Machine) => Promise<string | undefined>): BootCheck {
  return { name, run };
}
