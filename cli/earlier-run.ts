import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { ARCHITECTURES, type Architecture } from '../harness/qemu/architecture.ts';
import type { TimedBoot } from '../harness/report/compare.ts';
import { BOOT_STAGES } from '../harness/verdict/stages.ts';
import { InvalidOptionsError } from '../lib/run/errors.ts';

const milliseconds = z.number().nonnegative();

/** What a comparison reads of the output of `verify --json`; what else is in it may be of another version. */
const earlierSchema = z
  .array(
    z.object({
      image: z.string(),
      firmware: z.enum(['bios', 'efi', 'direct']),
      architecture: z.enum(Object.keys(ARCHITECTURES) as Architecture[]),
      accelerator: z.enum(['kvm', 'tcg']),
      timeline: z.array(z.object({ stage: z.enum(BOOT_STAGES), atMs: milliseconds })),
      durationMs: milliseconds,
      kernelTimes: z.object({ startedAtMs: milliseconds, userspaceMs: milliseconds }).optional(),
      systemdTimes: z
        .object({
          firmwareMs: milliseconds.optional(),
          loaderMs: milliseconds.optional(),
          kernelMs: milliseconds,
          initrdMs: milliseconds.optional(),
          userspaceMs: milliseconds.optional(),
        })
        .transform(({ firmwareMs, loaderMs, kernelMs, initrdMs, userspaceMs }) => ({
          ...{ firmwareMs, loaderMs, kernelMs, initrdMs, userspaceMs },
        }))
        .optional(),
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
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const where = issue === undefined || issue.path.length === 0 ? '' : ` at ${issue.path.join('.')}`;
  throw wrong(`${file} is not what verify --json writes${where}`, parsed.error);
}

/** Undefined for what is not JSON, which no schema takes. */
function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
