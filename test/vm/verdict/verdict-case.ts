import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { BootReport } from '../../../harness/verify/boot-report.ts';
import type { VerifyBootOptions } from '../../../harness/verify/verify-boot.ts';
import { verifyBoot } from '../../../harness/verify/verify-boot.ts';
import { removeTree } from '../../../lib/host-files/private-output.ts';
import { type GuestMode, smallGuest } from '../../helpers/small-guest/small-guest.ts';

/** A boot of the small guest and its true verdict. */
export interface VerdictCase {
  /** What happens, in a few words. */
  readonly boot: string;
  readonly guest: GuestMode;
  readonly options?: Partial<VerifyBootOptions>;
  readonly verdict: 'good' | BadVerdict;
  /** The lines at which something was typed without being asked for, or as an answer, in order, beside the Enter that confirms a
   *  login prompt; default: not looked at. Nothing is ever typed at the line of an `asks-…` verdict. */
  readonly typedAt?: readonly RegExp[];
  readonly also?: (report: BootReport) => void;
  /** One of several of its kind, or of minutes, or seen to be otherwise on a loaded host: run where ALL_VERDICTS is set. */
  readonly slow?: true;
}

interface BadVerdict {
  /** Of the failure; of several where more than one is true. */
  readonly name: string | readonly string[];
  readonly stage?: string | readonly string[];
  /** What the cause must say. */
  readonly cause?: RegExp;
  /** What it must not say. */
  readonly notCause?: RegExp;
  /** Milliseconds from the last sign to the verdict; default a minute, or three for what does nothing. */
  readonly withinMs?: number;
}

/** Of busybox's sleep: nothing more happens. */
export const FOREVER = 'sleep 1000000';

const PROMPT = /\blogin: ?$/;

/** Small guests that mostly wait: more at once than other machines. */
const AT_ONCE = '3';

/** Runs a table of cases. verifyBoot itself lets so many boot at once. */
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
