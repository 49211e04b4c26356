import { open, readFile, stat } from 'node:fs/promises';
import { z } from 'zod';
import { planUki, UKI_SECTIONS, type UkiSection } from '../formats/unified-kernel.ts';
import { requireFile, requireReplaceable } from '../host-files/given-paths.ts';
import { replaceFile } from '../host-files/private-output.ts';
import { readAt } from '../host-files/read-at.ts';
import { defineStep, type Step } from '../run/define-step.ts';
import { UnexpectedStateError } from '../run/errors.ts';
import { path } from '../spec/fields.ts';
import { MIB } from '../units.ts';

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
  /** The file to write; one that is there is replaced. */
  target: path,
});

export interface MakeUkiOptions extends z.input<typeof schema> {}

export interface MadeUki {
  readonly target: string;
  readonly sizeBytes: number;
}

interface Content {
  readonly name: UkiSection;
  readonly sizeBytes: number;
  /** Text, or files of this host. */
  readonly from: Buffer | readonly { readonly file: string; readonly sizeBytes: number }[];
}

/** Makes a unified kernel image: one EFI program of systemd's stub, a kernel, its initrds and its command line. A signature on it
 *  (signEfiProgram) covers all of them. The same inputs give the same bytes.
 *  @throws {UnexpectedStateError} when the stub cannot hold the sections.
 *  @see UAPI.5 Unified Kernel Image; ukify(1). Runs: nothing. */
export const makeUki: Step<MakeUkiOptions, MadeUki> = defineStep({
  name: STEP,
  options: schema,
  runs: [],
  where: 'host',
  async prepare({ stub, kernel, initrds, deviceTree, target }) {
    await requireFile(STEP, stub, 'stub');
    await requireFile(STEP, kernel, 'kernel');
    for (const [index, initrd] of initrds.entries()) await requireFile(STEP, initrd, `initrds[${index}]`);
    if (deviceTree !== undefined) await requireFile(STEP, deviceTree, 'deviceTree');
    await requireReplaceable(STEP, target, 'target');
  },
  detail: ({ target }) => target,
  async run(step, { stub, kernel, initrds, commandLine, osRelease, deviceTree, kernelVersion, target }) {
    const contents = new Map<UkiSection, Content['from']>([
      ['.linux', await sizesOf([kernel])],
      ['.osrel', Buffer.from(osRelease)],
      ['.cmdline', Buffer.from(commandLine)],
    ]);
    if (initrds.length > 0) contents.set('.initrd', await sizesOf(initrds));
    if (deviceTree !== undefined) contents.set('.dtb', await sizesOf([deviceTree]));
    if (kernelVersion !== undefined) contents.set('.uname', Buffer.from(kernelVersion));
    const ordered: Content[] = UKI_SECTIONS.flatMap((name) => {
      const from = contents.get(name);
      return from === undefined ? [] : [{ name, from, sizeBytes: bytesOf(from) }];
    });
    const plan = planUki(await readFile(stub), ordered);
    if (typeof plan === 'string')
      throw new UnexpectedStateError(STEP, `${stub} ${plan}`, { expected: 'an EFI stub of systemd, not signed' });
    await replaceFile(target, async (partial) => {
      await using file = await open(partial, 'wx');
      await file.truncate(plan.sizeBytes);
      await file.write(plan.head, 0, plan.head.length, 0);
      for (const [index, { offsetBytes }] of plan.sections.entries()) {
        step.signal?.throwIfAborted();
        const from = ordered[index]?.from ?? [];
        if (Buffer.isBuffer(from)) await file.write(from, 0, from.length, offsetBytes);
        else await copyFiles(file, from, offsetBytes);
      }
    });
    step.measured(plan.sizeBytes);
    return { target, sizeBytes: plan.sizeBytes };
  },
});

function bytesOf(from: Content['from']): number {
  return Buffer.isBuffer(from) ? from.length : from.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}

async function sizesOf(files: readonly string[]): Promise<{ readonly file: string; readonly sizeBytes: number }[]> {
  return Promise.all(files.map(async (file) => ({ file, sizeBytes: (await stat(file)).size })));
}

async function copyFiles(
  target: Awaited<ReturnType<typeof open>>,
  files: readonly { readonly file: string; readonly sizeBytes: number }[],
  offsetBytes: number,
): Promise<void> {
  let at = offsetBytes;
  for (const { file, sizeBytes } of files) {
    await using source = await open(file);
    for (let done = 0; done < sizeBytes; done += MIB) {
      const chunk = await readAt(source, done, Math.min(MIB, sizeBytes - done));
      await target.write(chunk, 0, chunk.length, at + done);
    }
    at += sizeBytes;
  }
}
