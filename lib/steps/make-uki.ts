import { z } from 'zod';
import { writeUki } from '../boot-loader/write-uki.ts';
import { requireFile, requireReplaceable } from '../host-files/given-paths.ts';
import { defineStep, type Step } from '../run/define-step.ts';
import { path } from '../spec/fields.ts';

const STEP = 'makeUki';

const schema = z.object({
  /** systemd's EFI stub, such as `linuxx64.efi.stub`. */
  stub: path,
  kernel: path,
  /** Concatenated in their order. */
  initrds: z.array(path).readonly().default([]),
  /** The kernel's command line. */
  commandLine: z
    .string()
    .refine((text) => !/[\0\n]/.test(text), 'must be one line')
    .default(''),
  /** The text of an os-release(5): systemd-boot shows PRETTY_NAME and leaves out a UKI that has no os-release. */
  osRelease: z.string().min(1, 'must not be empty'),
  deviceTree: path.optional(),
  /** The kernel's version, as `uname -r` prints it. */
  kernelVersion: z.string().optional(),
  /** The file to write; an existing one is replaced. */
  target: path,
});

export interface MakeUkiOptions extends z.input<typeof schema> {}

export interface MadeUki {
  readonly target: string;
  readonly sizeBytes: number;
}

/** Makes a unified kernel image: one EFI program of systemd's stub, a kernel, its initrds and its command line. A signature on it
 *  (signEfiProgram) covers all of them. The same inputs give the same bytes.
 *  @throws {UnexpectedStateError} when the stub cannot hold the sections.
 *  @see UAPI.5 Unified Kernel Image; ukify(1). Runs: flock. */
export const makeUki: Step<MakeUkiOptions, MadeUki> = defineStep({
  name: STEP,
  options: schema,
  runs: ['flock'],
  where: 'host',
  async prepare({ stub, kernel, initrds, deviceTree, target }) {
    await requireFile(STEP, stub, 'stub');
    await requireFile(STEP, kernel, 'kernel');
    for (const [index, initrd] of initrds.entries()) await requireFile(STEP, initrd, `initrds[${index}]`);
    if (deviceTree !== undefined) await requireFile(STEP, deviceTree, 'deviceTree');
    await requireReplaceable(STEP, target, 'target');
  },
  detail: ({ target }) => target,
  async run(step, { target, ...parts }) {
    const sizeBytes = await writeUki(step, parts, target);
    step.measured(sizeBytes);
    return { target, sizeBytes };
  },
});
