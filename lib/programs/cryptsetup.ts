import { readFile } from 'node:fs/promises';
import { InvalidOptionsError } from '../run/errors.ts';
import type { StepRunner } from '../run/step.ts';
import { KIB } from '../units.ts';

/** Without --disable-locks, cryptsetup needs /run/cryptsetup, which only root can make. The files are private. */
const CRYPTSETUP = ['cryptsetup', '--disable-locks', '--batch-mode'];

interface KeyDerivation {
  readonly type: 'argon2id' | 'pbkdf2';
  readonly memory?: number | undefined;
  readonly iterations?: number | undefined;
  readonly threads?: number | undefined;
}

const ARGON2_BYTES = 256 * 1024 * KIB;

/** Explicit numbers, because cryptsetup would measure this host, which is not the machine that boots. */
function derivationArgs({ type, memory, iterations, threads = 4 }: KeyDerivation): string[] {
  const count = ['--pbkdf', type, '--pbkdf-force-iterations', `${iterations ?? (type === 'pbkdf2' ? 1_000_000 : 4)}`];
  if (type === 'pbkdf2') return count;
  return [...count, '--pbkdf-memory', `${(memory ?? ARGON2_BYTES) / KIB}`, '--pbkdf-parallel', `${threads}`];
}

interface LuksFormat {
  /** A file of the size of the partition, which gets the header. */
  readonly file: string;
  /** Files with exactly the bytes of the passphrase and of the volume key. */
  readonly passphrase: string;
  readonly volumeKey: string;
  readonly keyDerivation: KeyDerivation;
  readonly sectorBytes: number;
  readonly uuid: string | undefined;
  readonly label: string | undefined;
}

/** Writes a LUKS2 header with one key slot. @see cryptsetup-luksFormat(8). Runs: cryptsetup. */
export async function luksFormat(step: StepRunner, options: LuksFormat): Promise<void> {
  const { file, passphrase, volumeKey, keyDerivation, sectorBytes, uuid, label } = options;
  await step.run(
    [
      ...[...CRYPTSETUP, 'luksFormat', '--type', 'luks2', '--cipher', 'aes-xts-plain64', '--key-size', '512'],
      ...['--sector-size', `${sectorBytes}`, '--volume-key-file', volumeKey, '--key-file', passphrase],
      ...(uuid === undefined ? [] : ['--uuid', uuid]),
      ...(label === undefined ? [] : [`--label=${label}`]),
      ...derivationArgs(keyDerivation),
      ...['--', file],
    ],
    { what: 'cannot make the LUKS header' },
  );
}

/** Adds a key slot. @see cryptsetup-luksAddKey(8). Runs: cryptsetup. */
export async function luksAddKey(
  step: StepRunner,
  {
    file,
    passphrase,
    added,
    keyDerivation,
  }: Pick<LuksFormat, 'file' | 'passphrase' | 'keyDerivation'> & { readonly added: string },
): Promise<void> {
  await step.run(
    [
      ...[...CRYPTSETUP, 'luksAddKey', '--key-file', passphrase, ...derivationArgs(keyDerivation)],
      ...['--', file, added],
    ],
    { what: 'cannot add a key slot to the LUKS header' },
  );
}

/** Stores a token, which is JSON. @see cryptsetup-token(8). Runs: cryptsetup. */
export async function importToken(step: StepRunner, file: string, token: object): Promise<void> {
  await step.run([...CRYPTSETUP, 'token', 'import', '--json-file', '-', '--', file], {
    input: JSON.stringify(token),
    what: 'cannot store a token in the LUKS header',
  });
}

interface UnlockOptions extends Pick<LuksFormat, 'file' | 'volumeKey'> {
  readonly passphrase: Uint8Array;
  /** Ends it: a hostile header may ask for hours of key derivation. */
  readonly signal: AbortSignal;
}

/** Unlocks the volume key with a passphrase. @param volumeKey the file for the key, which must not exist.
 *  @throws {InvalidOptionsError} when the passphrase opens no key slot. Runs: cryptsetup. */
export async function unlockVolumeKey(
  step: StepRunner,
  { file, passphrase, volumeKey, signal }: UnlockOptions,
): Promise<Buffer> {
  const { exitCode } = await step.tryRun(
    [
      ...[...CRYPTSETUP, 'luksDump', '--dump-volume-key', '--volume-key-file', volumeKey],
      ...['--key-file', '-', '--', file],
    ],
    // 2: no key slot has this passphrase. @see cryptsetup(8), "RETURN CODES"
    { input: passphrase, signal, answers: [2], what: 'cannot unlock the LUKS header' },
  );
  if (exitCode !== 0)
    throw new InvalidOptionsError(step.step, [
      { path: 'passphraseFile', message: 'the passphrase opens no key slot of the LUKS header' },
    ]);
  return readFile(volumeKey);
}
