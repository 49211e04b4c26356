import { AssertionFailedError, WaitTimeoutError } from '../errors.ts';
import type { Machine } from '../machine/machine.ts';
import { type Cause, checkCause } from '../verdict/verdict.ts';
import type { CheckReport } from './boot-report.ts';
import type { BootCheck } from './checks.ts';

/** Runs checks one after another. A check that times out is interrupted and the next one runs. */
export async function runChecks(checks: readonly BootCheck[], machine: Machine, reports: CheckReport[]): Promise<void> {
  for (const check of checks) {
    const startedAt = performance.now();
    const report = (ok: boolean, message: string | undefined): void => {
      reports.push({ name: check.name, ok, message, durationMs: performance.now() - startedAt });
    };
    try {
      report(true, await check.run(machine));
    } catch (error) {
      if (error instanceof AssertionFailedError) report(false, error.message);
      else if (error instanceof WaitTimeoutError) report(false, error.shortMessage);
      else throw error;
    }
  }
}

export function checksCause(reports: readonly CheckReport[]): Cause | undefined {
  const wrong = reports.filter(({ ok }) => !ok);
  return wrong.length === 0 ? undefined : checkCause(wrong);
}
