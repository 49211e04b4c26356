import { open, readFile, stat } from 'node:fs/promises';
import { planUki, UKI_SECTIONS, type UkiSection } from '../formats/unified-kernel.ts';
import { replaceFile } from '../host-files/private-output.ts';
import { readAt } from '../host-files/read-at.ts';
import { UnexpectedStateError } from '../run/errors.ts';
import type { StepRunner } from '../run/step.ts';
import { MIB } from '../units.ts';

/** What a unified kernel image is made of. Paths are files of this host. */
export interface UkiParts {
  readonly stub: string;
  readonly kernel: string;
  readonly initrds: readonly string[];
  readonly commandLine: string;
  readonly osRelease: string;
  readonly deviceTree?: string | undefined;
  readonly kernelVersion?: string | undefined;
}

interface Content {
  readonly name: UkiSection;
  readonly sizeBytes: number;
  readonly from: Buffer | readonly { readonly file: string; readonly sizeBytes: number }[];
}

/** Writes a unified kernel image; an existing file is replaced by the finished one.
 *  @returns its size in bytes.
 *  @throws {UnexpectedStateError} when the stub cannot hold the sections. */
export async function writeUki(step: StepRunner, parts: UkiParts, target: string): Promise<number> {
  const { stub, kernel, initrds, commandLine, osRelease, deviceTree, kernelVersion } = parts;
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
    throw new UnexpectedStateError(step.step, `${stub} ${plan}`, { expected: 'an EFI stub of systemd, not signed' });
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
  return plan.sizeBytes;
}

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
