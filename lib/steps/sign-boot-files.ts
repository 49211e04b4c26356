import { open, readdir } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { z } from 'zod';
import { type BootDirectory, entriesToUkis, renameDefault } from '../boot-loader/entries-to-ukis.ts';
import { SIGNING_TOOLS, signProgram } from '../boot-loader/sign-program.ts';
import { kindOf, readPe } from '../formats/efi-program.ts';
import { requireDirectory, requireFile } from '../host-files/given-paths.ts';
import { readAt } from '../host-files/read-at.ts';
import { readSigningPair } from '../host-files/signing-pair.ts';
import { defineStep, type Step } from '../run/define-step.ts';
import { UnexpectedStateError } from '../run/errors.ts';
import { path, SECURE_BOOT_WAYS, timestamp } from '../spec/fields.ts';

const STEP = 'signBootFiles';

const schema = z.object({
  /** The files of the ESP in a directory of this host, as extractFilesystem leaves them. They are changed in place. */
  esp: path,
  /** Those of the XBOOTLDR partition, if the layout has one. */
  xbootldr: path.optional(),
  /** A private key in PEM, without a passphrase. */
  key: path,
  /** The certificate of that key, in PEM. */
  certificate: path,
  /** "uki": each entry of systemd-boot becomes a unified kernel image, so that kernel, initrd and command line are signed together.
   *  "kernel": the entries stay, and only boot loader and kernels are signed. */
  way: z.enum(SECURE_BOOT_WAYS).default('uki'),
  /** systemd's EFI stub, which "uki" needs. */
  stub: path.optional(),
  /** Seconds since 1970: the time in the signatures. Default: when the certificate becomes valid. */
  timestamp: timestamp.optional(),
});

export interface SignBootFilesOptions extends z.input<typeof schema> {}

export interface SignedBootFiles {
  /** Every program that is signed now, from the root of its partition. */
  readonly signed: readonly string[];
  /** The unified kernel images that were made of entries. */
  readonly ukis: readonly string[];
}

/** Signs everything that a boot partition with systemd-boot has for firmware to start.
 *  @throws {UnexpectedStateError} for GRUB, which under Secure Boot must be built and signed with its modules and does not verify what
 *  it loads; and when there is nothing to sign.
 *  @throws {InvalidOptionsError} for a key that does not belong to the certificate or needs a passphrase.
 *  @see systemd-boot(7); UAPI.5 Unified Kernel Image; sbsign(1). Runs: faketime, flock, sbsign. */
export const signBootFiles: Step<SignBootFilesOptions, SignedBootFiles> = defineStep({
  name: STEP,
  options: schema,
  rules: [
    ({ way, stub }) =>
      way === 'uki' && stub === undefined ? [{ path: 'stub', message: 'is required with way "uki"' }] : [],
  ],
  runs: [...SIGNING_TOOLS, 'flock'],
  where: 'host',
  async prepare({ esp, xbootldr, key, certificate, stub }) {
    await requireDirectory(STEP, esp, 'esp');
    if (xbootldr !== undefined) await requireDirectory(STEP, xbootldr, 'xbootldr');
    if (stub !== undefined) await requireFile(STEP, stub, 'stub');
    return readSigningPair(STEP, key, certificate);
  },
  detail: ({ way }) => way,
  async run(step, { esp, xbootldr, way, stub, timestamp: time }, pair) {
    const partitions = xbootldr === undefined ? [esp] : [esp, xbootldr];
    const ukis: string[] = [];
    if (way === 'uki' && stub !== undefined) {
      for (const partition of partitions) ukis.push(...(await entriesToUkis(step, await list(partition), stub)));
      await renameDefault(await list(esp));
    }
    const signed: string[] = [];
    for (const partition of partitions)
      for (const name of (await list(partition)).files.values()) {
        const program = join(partition, name);
        const kind = await programKind(program);
        if (kind === undefined) continue;
        if (kind === 'grub')
          throw new UnexpectedStateError(STEP, `${name} is GRUB, which does not verify the kernels that it starts`, {
            expected: 'systemd-boot',
          });
        await signProgram(step, { program, target: program }, pair, time);
        signed.push(name);
      }
    if (signed.length === 0)
      throw new UnexpectedStateError(STEP, 'there is no EFI program to sign', { expected: 'a boot loader on the ESP' });
    return { signed, ukis };
  },
});

async function list(path: string): Promise<BootDirectory> {
  const entries = await readdir(path, { recursive: true, withFileTypes: true });
  const names = entries
    .filter((entry) => entry.isFile())
    .map((entry) => relative(path, join(entry.parentPath, entry.name)));
  return { path, files: new Map(names.sort().map((name) => [name.toLowerCase(), name])) };
}

/** Undefined if it is not an EFI program. */
async function programKind(file: string) {
  await using handle = await open(file);
  const read = (offset: number, bytes: number): Promise<Buffer> => readAt(handle, offset, bytes);
  const pe = await readPe(read);
  return pe === undefined ? undefined : await kindOf(read, pe);
}
