import { z } from 'zod';
import { SIGNING_TOOLS, signaturesOf, signProgram } from '../boot-loader/sign-program.ts';
import { requireFile, requireReplaceable } from '../host-files/given-paths.ts';
import { readSigningPair } from '../host-files/signing-pair.ts';
import { defineStep, type Step } from '../run/define-step.ts';
import { InvalidOptionsError } from '../run/errors.ts';
import { path, timestamp } from '../spec/fields.ts';

const STEP = 'signEfiProgram';

const schema = z.object({
  /** An EFI program: a boot loader, a kernel with an EFI stub, a UKI. */
  program: path,
  /** The file to write; an existing one is replaced, even the program itself. */
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
 *  @throws {InvalidOptionsError} if the file is not an EFI program, and for a key that does not belong to the certificate or
 *  needs a passphrase.
 *  @see sbsign(1); faketime(1), because sbsign writes the time of the clock. Runs: faketime, flock, sbsign. */
export const signEfiProgram: Step<SignEfiProgramOptions, SignedEfiProgram> = defineStep({
  name: STEP,
  options: schema,
  runs: [...SIGNING_TOOLS, 'flock'],
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
  async run(step, { program, target, timestamp: time }, pair) {
    const signatures = await signProgram(step, { program, target }, pair, time);
    const own = signatures.find(({ fingerprint }) => fingerprint === pair.fingerprint);
    return { target, signer: own?.signer ?? '', fingerprint: pair.fingerprint, count: signatures.length };
  },
});
