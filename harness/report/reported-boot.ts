import type { BootReport } from '../verify/boot-report.ts';

/** What somebody expected of a boot, and whether that is what happened. */
export interface BootExpected {
  /** "to boot", "not to boot", "to end with …" */
  readonly outcome: string;
  readonly met: boolean;
}

/** A report, and what it is called where that says more than its firmware. */
export type ReportedBoot = BootReport & { readonly title?: string; readonly expected?: BootExpected | undefined };

/** Whether it went as expected; a boot of which nothing was expected is to be good. */
export function isAsExpected({ ok, expected }: ReportedBoot): boolean {
  return expected?.met ?? ok;
}

/** In a word or three: a failure that was expected is not called good. */
export function outcomeWord(boot: ReportedBoot): string {
  const { ok, expected } = boot;
  if (expected === undefined || ok === expected.met) return ok ? 'good' : 'bad';
  return expected.met ? 'fails as expected' : 'not as expected';
}

/** Those that did not go as expected first, each in the order in which it ran. */
export function failingFirst(boots: readonly ReportedBoot[]): ReportedBoot[] {
  return [...boots].sort((a, b) => Number(isAsExpected(a)) - Number(isAsExpected(b)));
}
