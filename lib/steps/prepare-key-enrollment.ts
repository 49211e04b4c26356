import { copyFile, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { loaderLines } from '../formats/loader-lines.ts';
import { signatureList } from '../formats/secure-boot/signature-list.ts';
import { makeDirectories } from '../host-files/given-paths.ts';
import { makePrivateDirectory } from '../host-files/private-output.ts';
import { readSigningPair, type SigningPair } from '../host-files/signing-pair.ts';
import { defineStep, type Step } from '../run/define-step.ts';
import type { StepRunner } from '../run/step.ts';
import { keyOwner, path, timestamp } from '../spec/fields.ts';
import { formatTime } from '../units.ts';

const STEP = 'prepareKeyEnrollment';

const pair = z.strictObject({ key: path, certificate: path });

const schema = z.object({
  /** The directory that becomes the ESP. */
  directory: path,
  platformKey: pair,
  keyExchangeKey: pair,
  db: pair,
  /** The GUID of the keys' owner. */
  owner: keyOwner,
  /** Seconds since 1970: the time in the signatures. Default: when the platform key's certificate becomes valid. */
  timestamp: timestamp.optional(),
});

export interface PrepareKeyEnrollmentOptions extends z.input<typeof schema> {}

/** Puts signed updates of PK, KEK and db where systemd-boot finds them (`loader/keys/auto`), and `secure-boot-enroll force` into
 *  loader.conf: it enrolls them at the first boot of a machine whose firmware is in setup mode, and restarts it. The private keys
 *  sign the updates; they are not copied.
 *  @returns the files that were written, from the directory.
 *  @throws {InvalidOptionsError} for a key that does not belong to its certificate or needs a passphrase.
 *  @see systemd-boot(7), "/loader/keys"; sign-efi-sig-list(1). Runs: flock, sign-efi-sig-list. */
export const prepareKeyEnrollment: Step<PrepareKeyEnrollmentOptions, readonly string[]> = defineStep({
  name: STEP,
  options: schema,
  runs: ['sign-efi-sig-list', 'flock'],
  where: 'host',
  async prepare({ platformKey, keyExchangeKey, db }) {
    const read = (one: z.output<typeof pair>, option: string): Promise<SigningPair> =>
      readSigningPair(STEP, one.key, one.certificate, `${option}.`);
    return {
      PK: await read(platformKey, 'platformKey'),
      KEK: await read(keyExchangeKey, 'keyExchangeKey'),
      db: await read(db, 'db'),
    };
  },
  detail: ({ directory }) => directory,
  async run(step, { directory, platformKey, keyExchangeKey, owner, timestamp: time }, pairs) {
    const target = join(directory, 'loader/keys/auto');
    await makeDirectories(target);
    const seconds = time ?? Math.floor(Date.parse(pairs.PK.certificate.validFrom) / 1000);
    // Each is signed by the key that may change it.
    const signedBy = { PK: platformKey, KEK: platformKey, db: keyExchangeKey } as const;
    await using work = await makePrivateDirectory(tmpdir());
    for (const [name, signer] of Object.entries(signedBy)) {
      const list = join(work.path, `${name}.esl`);
      const { certificate } = pairs[name as keyof typeof pairs];
      await writeFile(list, signatureList('x509', owner, certificate.raw));
      const made = join(work.path, `${name}.auth`);
      await sign(step, { name, signer, owner, seconds, list, target: made });
      await copyFile(made, join(target, `${name}.auth`));
    }
    const settings = join(directory, 'loader/loader.conf');
    const text = await readFile(settings, 'utf8').catch(() => '');
    if (!loaderLines(text).some(([name]) => name === 'secure-boot-enroll'))
      await writeFile(settings, `${text}${text === '' || text.endsWith('\n') ? '' : '\n'}secure-boot-enroll force\n`);
    return Object.keys(signedBy).map((name) => `loader/keys/auto/${name}.auth`);
  },
});

async function sign(
  step: StepRunner,
  given: {
    readonly name: string;
    readonly signer: z.output<typeof pair>;
    readonly owner: string;
    readonly seconds: number;
    readonly list: string;
    readonly target: string;
  },
): Promise<void> {
  const { name, signer, owner, seconds, list, target } = given;
  const keys = ['-k', resolve(signer.key), '-c', resolve(signer.certificate)];
  await step.run(['sign-efi-sig-list', '-g', owner, '-t', formatTime(seconds), ...keys, name, list, target], {
    env: { TZ: 'UTC' },
    what: `cannot sign the update of ${name}`,
  });
}
