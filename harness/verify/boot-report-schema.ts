import { z } from 'zod';
import { resultJsonSchema, resultSchema } from '../../lib/run/result-schema.ts';
import { BOOT_STAGES } from '../verdict/stages.ts';
import type { BootReport } from './boot-report.ts';

const milliseconds = z.number().min(0);
const lines = z.array(z.string());
const stage = z.enum(BOOT_STAGES);

export const bootReportSchema = resultSchema<BootReport>()(
  z.object({
    image: z.string(),
    firmware: z.enum(['bios', 'efi', 'direct']),
    architecture: z.enum(['x86_64', 'aarch64']),
    accelerator: z.enum(['kvm', 'tcg']),
    ok: z
      .boolean()
      .describe('It booted, all checks passed, it shut down cleanly, and nothing is wrong with the image.'),
    timeline: z
      .array(z.object({ stage, atMs: milliseconds }))
      .describe('When each stage was first seen, in milliseconds since QEMU was started.'),
    stageReached: stage.optional(),
    kernelTimes: z
      .object({ startedAtMs: milliseconds, userspaceMs: milliseconds })
      .optional()
      .describe("What the kernel's own clock says."),
    systemdTimes: z
      .object({
        firmwareMs: milliseconds.optional(),
        loaderMs: milliseconds.optional(),
        kernelMs: milliseconds,
        initrdMs: milliseconds.optional(),
        userspaceMs: milliseconds.optional(),
      })
      .optional()
      .describe('What systemd says of its own start.'),
    checks: z.array(
      z.object({
        name: z.string(),
        ok: z.boolean(),
        message: z.string().optional(),
        durationMs: milliseconds,
      }),
    ),
    failure: z
      .object({
        name: z.string().describe('A word for programs, such as "kernel-panic".'),
        stage: z.string().describe('A stage of the boot, or "image", "checks" or "shutdown".'),
        cause: z.string(),
        seenAtMs: milliseconds.optional(),
        line: z.string().optional().describe('The line of the console that decided it.'),
        lastLines: lines.describe("The console's last lines before it."),
      })
      .optional(),
    ignored: z.array(z.object({ code: z.string(), message: z.string() })).describe('What --ignore tolerated.'),
    warnings: lines,
    typed: z
      .array(z.object({ keys: z.string(), line: z.string(), atMs: milliseconds, why: z.string() }))
      .describe('What was typed without being told to, or as an answer, and at which line.'),
    reboots: z.int().min(0),
    cleanShutdown: z.boolean(),
    durationMs: milliseconds,
    waitedMs: milliseconds.describe('Until fewer machines ran than the host has processors.'),
    qemuVersion: z.string(),
    qemuArgv: lines,
    console: lines.describe("The console's last lines."),
    logFile: z.string().optional().describe('The file that has the whole console.'),
    screenshot: z.string().optional().describe('A PNG picture in base64.'),
  }),
);

/** Of what `verify --json` prints. */
export function bootReportsJsonSchema(): Record<string, unknown> {
  return resultJsonSchema('reports of boots', z.array(bootReportSchema));
}
