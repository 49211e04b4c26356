import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { BootReport } from '../../../harness/verify/boot-report.ts';
import type { VerifyBootOptions } from '../../../harness/verify/verify-boot.ts';
import { verifyBoot } from '../../../harness/verify/verify-boot.ts';
import { removeTree } from '../../../lib/host-files/private-output.ts';
import { type GuestMode, smallGuest } from '../../helpers/small-guest/small-guest.ts';

/** A boot of the small guest and its correct verdict. */
export interface VerdictCase {
  /** A few words about what happens. */
  readonly boot: string;
  readonly guest: GuestMode;
  readonly options?: Partial<VerifyBootOptions>;
  readonly verdict: 'good' | BadVerdict;
  /** The lines at which the harness typed by itself or as an answer, in order, without the Enter that confirms a login prompt;
   *  default: not checked. Nothing is ever typed at the line of an `asks-…` verdict. */
  readonly typedAt?: readonly RegExp[];
  readonly also?: (report: BootReport) => void;
  /** Runs only if ALL_VERDICTS is set: it is one of several similar cases, takes minutes, or differs on a loaded host. */
  readonly slow?: true;
}

interface BadVerdict {
  /** The name of the failure; several names if each would be correct. */
  readonly name: string | readonly string[];
  readonly stage?: string | readonly string[];
  /** Text that the cause must contain. */
  readonly cause?: RegExp;
  /** Text that it must not contain. */
  readonly notCause?: RegExp;
  /** Milliseconds from the last output to the verdict; default: a minute, or three for an idle guest. */
  readonly withinMs?: number;
}

/** The argument of busybox's sleep: nothing more happens. */
export const FOREVER = 'sleep 1000000';

const PROMPT = /\blogin: ?$/;

/** Small guests mostly wait, so more of them run at once than other machines. */
const AT_ONCE = '3';

/** Defines a test for each case. verifyBoot limits how many boot at once. */
export function testVerdicts(cases: readonly VerdictCase[]): void {
  process.env.NIXOS_DISK_IMAGE_MACHINES = AT_ONCE;
  const all = process.env.ALL_VERDICTS !== undefined;
  const chosen = cases.filter(({ slow }) => all || slow !== true);
  test.concurrent.each(chosen.map((each) => [each.boot, each] as const))('%s', async (_, each) => {
    const directory = await mkdtemp(join(tmpdir(), "ndi verdict, it's-"));
    try {
      holdAgainst(each, await verifyBoot({ ...(await smallGuest(each.guest, directory)), ...each.options }));
    } finally {
      await removeTree(directory);
    }
  });
}

function holdAgainst({ verdict, typedAt, also }: VerdictCase, report: BootReport): void {
  const shown = `${report.failure?.name} at ${report.failure?.stage}: ${report.failure?.cause}\n${report.console.slice(-25).join('\n')}`;
  if (verdict === 'good') {
    expect(report.failure, shown).toBeUndefined();
    expect(report.ok, shown).toBe(true);
  } else {
    const { name, stage, cause, notCause, withinMs = [name].flat().includes('hang') ? 180_000 : 60_000 } = verdict;
    expect(report.ok, shown).toBe(false);
    expect([name].flat(), shown).toContain(report.failure?.name);
    if (stage !== undefined) expect([stage].flat(), shown).toContain(report.failure?.stage);
    if (cause !== undefined) expect(report.failure?.cause, shown).toMatch(cause);
    if (notCause !== undefined) expect(report.failure?.cause, shown).not.toMatch(notCause);
    if (report.failure?.seenAtMs !== undefined)
      expect(report.durationMs - report.failure.seenAtMs, shown).toBeLessThan(withinMs);
    if (cause !== undefined && report.failure?.name.startsWith('asks-') === true)
      expect(report.typed.filter(({ line }) => cause.test(line))).toEqual([]);
  }
  if (typedAt !== undefined) {
    const lines = report.typed.map(({ line }) => line).filter((line) => !PROMPT.test(line));
    expect(lines, shown).toHaveLength(typedAt.length);
    for (const [index, pattern] of typedAt.entries()) expect(lines[index]).toMatch(pattern);
  }
  also?.(report);
}
