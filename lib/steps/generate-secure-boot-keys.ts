import { randomUUID } from 'node:crypto';
import { chmod, readdir, rm, rmdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { makeDirectories } from '../host-files/given-paths.ts';
import { defineStep, type Step } from '../run/define-step.ts';
import { InvalidOptionsError } from '../run/errors.ts';
import type { StepRunner } from '../run/step.ts';
import { secretFile } from '../spec/fields.ts';

const STEP = 'generateSecureBootKeys';

const schema = z.object({
  /** A new or empty directory, not in the Nix store. */
  directory: secretFile,
  /** What the names of the certificates begin with: "NAME db". */
  name: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9 .-]{0,40}$/, 'must be letters, digits, blanks, dots and dashes, at most 41')
    .default('nixos-disk-image'),
  /** How long the certificates are valid, in days. Firmware does not look at that. */
  days: z.int().min(1).max(36_500).default(3650),
});

export interface GenerateSecureBootKeysOptions extends z.input<typeof schema> {}

export interface SecureBootKeyFiles {
  readonly key: string;
  readonly certificate: string;
}

export interface GeneratedSecureBootKeys {
  readonly platformKey: SecureBootKeyFiles;
  readonly keyExchangeKey: SecureBootKeyFiles;
  /** The pair that signs programs. */
  readonly db: SecureBootKeyFiles;
  /** The GUID of the keys' owner. */
  readonly owner: string;
}

const NAMES = ['PK', 'KEK', 'db'] as const;

/** Makes the keys of Secure Boot: PK, KEK and db, RSA with 2048 bits, each with a certificate that it signed itself. The directory is
 *  laid out as sbctl's and as lanzaboote's pkiBundle: `keys/db/db.key`, `keys/db/db.pem` …, `GUID`. Only its owner can read it.
 *  @throws {InvalidOptionsError} when there is something in the directory.
 *  @see openssl-req(1); sbctl(8). Runs: openssl. */
export const generateSecureBootKeys: Step<GenerateSecureBootKeysOptions, GeneratedSecureBootKeys> = defineStep({
  name: STEP,
  options: schema,
  runs: ['openssl'],
  where: 'host',
  async prepare({ directory }) {
    const there = await readdir(directory).catch(() => []);
    if (there.length > 0)
      throw new InvalidOptionsError(STEP, [
        { path: 'directory', message: `${directory} is not empty: existing keys are not replaced` },
      ]);
  },
  detail: ({ directory }) => directory,
  async run(step, given) {
    const { directory } = given;
    const existed = await readdir(directory).then(
      () => true,
      () => false,
    );
    await makeDirectories(directory);
    return makeKeys(step, given).catch(async (error: unknown) => {
      // Half of the keys would be in the way of the next attempt.
      for (const name of ['keys', 'GUID']) await rm(join(directory, name), { recursive: true, force: true });
      if (!existed) await rmdir(directory).catch(() => undefined);
      throw error;
    });
  },
});

async function makeKeys(
  step: StepRunner,
  { directory, name, days }: z.output<typeof schema>,
): Promise<GeneratedSecureBootKeys> {
  await chmod(directory, 0o700);
  const owner = randomUUID();
  const made = new Map<string, SecureBootKeyFiles>();
  for (const role of NAMES) {
    const place = join(resolve(directory), 'keys', role);
    await makeDirectories(place);
    const pair = { key: join(place, `${role}.key`), certificate: join(place, `${role}.pem`) };
    await step.run(
      [
        ...['openssl', 'req', '-new', '-x509', '-newkey', 'rsa:2048', '-sha256', '-nodes', '-days', `${days}`],
        ...['-subj', `/CN=${name} ${role}`, '-keyout', pair.key, '-out', pair.certificate],
      ],
      { what: `cannot make the key ${role}` },
    );
    await chmod(pair.key, 0o600);
    made.set(role, pair);
  }
  await writeFile(join(directory, 'GUID'), owner);
  const of = (role: (typeof NAMES)[number]): SecureBootKeyFiles => {
    const pair = made.get(role);
    if (pair === undefined) throw new Error(`${role} was not made`);
    return pair;
  };
  return { platformKey: of('PK'), keyExchangeKey: of('KEK'), db: of('db'), owner };
}
