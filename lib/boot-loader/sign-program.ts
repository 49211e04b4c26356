import { copyFile, open } from 'node:fs/promises';
import { resolve } from 'node:path';
import { readPe } from '../formats/efi-program.ts';
import { nameOf, type ProgramSignature, readSignatures } from '../formats/secure-boot/authenticode.ts';
import { replaceFile } from '../host-files/private-output.ts';
import { readAt } from '../host-files/read-at.ts';
import type { SigningPair } from '../host-files/signing-pair.ts';
import { UnexpectedStateError } from '../run/errors.ts';
import type { StepRunner } from '../run/step.ts';
import { formatTime } from '../units.ts';

/** What signProgram runs. */
export const SIGNING_TOOLS = ['faketime', 'sbsign'] as const;

/** Signs an EFI program, unless it has a signature by this certificate already. An existing target is replaced by the signed program.
 *  @param timestamp seconds since 1970; default: when the certificate becomes valid.
 *  @returns the signatures of the target.
 *  @throws {UnexpectedStateError} when the signature cannot be verified afterwards. Runs: faketime, sbsign. */
export async function signProgram(
  step: StepRunner,
  { program, target }: { readonly program: string; readonly target: string },
  pair: SigningPair,
  timestamp?: number,
): Promise<readonly ProgramSignature[]> {
  const seconds = timestamp ?? Math.floor(Date.parse(pair.certificate.validFrom) / 1000);
  const before = (await signaturesOf(program)) ?? [];
  if (before.some((one) => one.fingerprint === pair.fingerprint && one.hashMatches && one.isAuthentic)) {
    if (resolve(program) !== resolve(target)) await replaceFile(target, (partial) => copyFile(program, partial));
    return before;
  }
  // faketime would report a missing sbsign with its own status.
  await step.run(['sbsign', '--version']);
  let signatures: readonly ProgramSignature[] = [];
  await replaceFile(target, async (partial) => {
    await step.run(signEfiProgramArgs(pair, resolve(partial), resolve(program), seconds), {
      env: { TZ: 'UTC' },
      what: `cannot sign ${program}`,
    });
    signatures = (await signaturesOf(partial)) ?? [];
    const own = signatures.find(({ fingerprint }) => fingerprint === pair.fingerprint);
    if (own?.hashMatches !== true || !own.isAuthentic)
      throw new UnexpectedStateError(step.step, `the signature of ${program} cannot be verified`, {
        expected: `a signature by ${nameOf(pair.certificate.subject)}`,
        found: signatures.length === 0 ? 'none' : signatures.map(({ signer }) => signer).join('; '),
      });
  });
  return signatures;
}

/** Arguments of sbsign, under a clock that stands at a time. */
function signEfiProgramArgs(
  pair: Pick<SigningPair, 'keyFile' | 'certificateFile'>,
  target: string,
  program: string,
  seconds: number,
): string[] {
  const keys = ['--key', resolve(pair.keyFile), '--cert', resolve(pair.certificateFile)];
  return ['faketime', '-f', formatTime(seconds), 'sbsign', ...keys, '--output', target, program];
}

/** The signatures of a file; undefined if it is not an EFI program. */
export async function signaturesOf(file: string): Promise<readonly ProgramSignature[] | undefined> {
  await using handle = await open(file);
  const read = (offset: number, bytes: number): Promise<Buffer> => readAt(handle, offset, bytes);
  const pe = await readPe(read);
  return pe === undefined ? undefined : await readSignatures(read, pe);
}
