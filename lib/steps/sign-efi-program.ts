import { open } from 'node:fs/promises';
import { resolve } from 'node:path';
import { z } from 'zod';
import { readPe } from '../formats/efi-program.ts';
import { type ProgramSignature, readSignatures } from '../formats/secure-boot/authenticode.ts';
import { requireFile, requireReplaceable } from '../host-files/given-paths.ts';
import { replaceFile } from '../host-files/private-output.ts';
import { readAt } from '../host-files/read-at.ts';
import { readSigningPair } from '../host-files/signing-pair.ts';
import { defineStep, type Step } from '../run/define-step.ts';
import { InvalidOptionsError, UnexpectedStateError } from '../run/errors.ts';
import { path, timestamp } from '../spec/fields.ts';

const STEP = 'signEfiProgram';

const schema = z.object({
  /** An EFI program: a boot loader, a kernel with an EFI stub, a UKI. */
  program: path,
  /** The file to write; one that is there is replaced, also the program itself. */
  target: path,
  /** A private key in PEM, without a passphrase. */
  key: path,
  /** The certificate of that key, in PEM. */
  certificate: path,
  /** Seconds since 1970: the time in the signature. Default: when the certificate becomes valid, so that two runs give the same
   *  bytes. */
  timestamp: timestamp.optional(),
});

export interface SignEfiProgramOptions extends z.input<typeof schema> {}

export interface SignedEfiProgram {
  readonly target: string;
  /** The subject of the certificate, read back from the signature. */
  readonly signer: string;
  /** SHA-256 of the certificate. */
  readonly fingerprint: string;
  /** Of how many signatures the program has now. */
  readonly count: number;
}

/** Signs an EFI program for Secure Boot. A program that is signed already gets a second signature, unless it has one by this
 *  certificate.
 *  @returns what was read back from the signed program.
 *  @throws {InvalidOptionsError} for what is not an EFI program, and for a key that does not belong to the certificate or
 *  needs a passphrase.
 *  @see sbsign(1); faketime(1), because sbsign writes the time of the clock. Runs: faketime, sbsign. */
export const signEfiProgram: Step<SignEfiProgramOptions, SignedEfiProgram> = defineStep({
  name: STEP,
  options: schema,
  runs: ['faketime', 'sbsign'],
  where: 'host',
  async prepare({ program, target, key, certificate }) {
    await requireFile(STEP, program, 'program');
    await requireReplaceable(STEP, target, 'target');
    const pair = await readSigningPair(STEP, key, certificate);
    const signatures = await signaturesOf(program);
    if (signatures === undefined)
      throw new InvalidOptionsError(STEP, [{ path: 'program', message: `${program} is not an EFI program` }]);
    return pair;
  },
  detail: ({ target }) => target,
  async run(step, { program, target, key, certificate, timestamp: time }, pair) {
    const seconds = time ?? Math.floor(Date.parse(pair.certificate.validFrom) / 1000);
    // faketime would report a missing sbsign by a status of its own.
    await step.run(['sbsign', '--version']);
    await replaceFile(target, async (partial) => {
      const files = [resolve(key), resolve(certificate), resolve(partial), resolve(program)] as const;
      await step.run(signEfiProgramArgs(...files, seconds), {
        env: { TZ: 'UTC' },
        what: `cannot sign ${program}`,
      });
      const made = (await signaturesOf(partial)) ?? [];
      const own = made.find(({ fingerprint }) => fingerprint === pair.fingerprint);
      if (own?.hashMatches !== true || !own.isAuthentic)
        throw new UnexpectedStateError(STEP, `the signature of ${program} cannot be verified`, {
          expected: `a signature by ${pair.certificate.subject.replaceAll('\n', ', ')}`,
          found: made.length === 0 ? 'none' : made.map(({ signer }) => signer).join('; '),
        });
    });
    const signatures = (await signaturesOf(target)) ?? [];
    const own = signatures.find(({ fingerprint }) => fingerprint === pair.fingerprint);
    return { target, signer: own?.signer ?? '', fingerprint: pair.fingerprint, count: signatures.length };
  },
});

/** Arguments of sbsign, under a clock that stands at a time. */
export function signEfiProgramArgs(
  key: string,
  certificate: string,
  target: string,
  program: string,
  seconds: number,
): string[] {
  const time = new Date(seconds * 1000).toISOString().replace('T', ' ').slice(0, 19);
  return [...['faketime', '-f', time, 'sbsign'], ...['--key', key, '--cert', certificate, '--output', target, program]];
}

async function signaturesOf(file: string): Promise<readonly ProgramSignature[] | undefined> {
  await using handle = await open(file);
  const read = (offset: number, bytes: number): Promise<Buffer> => readAt(handle, offset, bytes);
  const pe = await readPe(read);
  return pe === undefined ? undefined : await readSignatures(read, pe);
}
