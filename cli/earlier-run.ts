import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import type { TimedBoot } from '../harness/report/compare.ts';
import { bootReportSchema } from '../harness/verify/boot-report-schema.ts';
import { InvalidOptionsError } from '../lib/run/errors.ts';

/** The fields of the output of `verify --json` that a comparison reads; the other fields may be of another version. */
const earlierSchema = z
  .array(
    bootReportSchema.pick({
      ...{ image: true, firmware: true, architecture: true, accelerator: true, timeline: true, durationMs: true },
      ...{ kernelTimes: true, systemdTimes: true },
    }),
  )
  .min(1);

/** The boots that `verify --json` wrote in an earlier run.
 *  @throws {InvalidOptionsError} when the file is something else. */
export async function readEarlierRun(file: string): Promise<TimedBoot[]> {
  const wrong = (message: string, cause?: unknown): InvalidOptionsError =>
    new InvalidOptionsError('verify', [{ path: '--compare', message }], {
      cause,
      hint: 'keep a run to compare with: nixos-disk-image verify IMAGE --json > FILE',
    });
  const text = await readFile(file, 'utf8').catch((cause: unknown) => {
    throw wrong(`${file} cannot be read: ${cause instanceof Error ? cause.message : cause}`, cause);
  });
  const parsed = earlierSchema.safeParse(jsonOf(text));
  if (parsed.success)
    return parsed.data.map(({ systemdTimes, ...boot }) => ({
      ...boot,
      systemdTimes: systemdTimes && { ...NO_TIMES, ...systemdTimes },
    }));
  const [issue] = parsed.error.issues;
  const where = issue === undefined || issue.path.length === 0 ? '' : ` at ${issue.path.join('.')}`;
  throw wrong(`${file} is not what verify --json writes${where}`, parsed.error);
}

const NO_TIMES = { firmwareMs: undefined, loaderMs: undefined, initrdMs: undefined, userspaceMs: undefined };

/** Undefined for what is not JSON, which no schema takes. */
function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
