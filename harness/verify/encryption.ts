import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makePrivateDirectory } from '../../lib/host-files/private-output.ts';
import { type ImageInspection, inspectImage } from '../../lib/inspect/inspect-image.ts';
import { InvalidOptionsError } from '../../lib/run/errors.ts';
import { formatBytes } from '../../lib/units.ts';
import type { MachineSpec } from '../machine/machine-spec.ts';
import { encryptionCause } from '../verdict/verdict.ts';
import type { BootFailure } from './boot-report.ts';

const UUID = /\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b/gi;

/** Messages of cryptsetup when it has the volume key and the kernel does not make the device. @see cryptsetup lib/libdevmapper.c */
const NO_DEVICE =
  /Cannot initialize device-mapper|Failed to setup dm-crypt|device-mapper: (?:reload|table|create) ioctl.*failed|Check that kernel supports \S+ cipher/;

/** Finds out why an encrypted root was not opened, by opening it on this host. The guest prints the same line for another passphrase
 *  and for damaged key slots, and another one if it only has to wait for a device.
 *  @returns the failure, renamed if the LUKS header explains it. */
export async function explainEncryption(
  failure: BootFailure,
  inspection: ImageInspection | undefined,
  { image, format, passphrase, tpm }: Pick<MachineSpec, 'image' | 'format' | 'passphrase' | 'tpm'>,
  signal: AbortSignal | undefined,
): Promise<BootFailure> {
  const encrypted = inspection?.partitions.filter(({ encryption }) => encryption !== undefined) ?? [];
  const [first] = encrypted;
  if (first?.encryption === undefined || failure.stage !== 'stage 1') return failure;
  const { number, encryption } = first;
  const renamed = (how: Parameters<typeof encryptionCause>[0], found: string): BootFailure => ({
    ...failure,
    ...encryptionCause(how, number, `${found}; seen during the boot: ${failure.cause}`),
  });
  const said = failure.lastLines.join('\n');
  const [line] = NO_DEVICE.exec(said) ?? [];
  if (line !== undefined) return renamed('luks-not-opened', `: ${line}`);
  if (failure.name === 'asks-for-passphrase') {
    if (passphrase === undefined) {
      if (!encryption.tokens.includes('systemd-tpm2')) return failure;
      const hasTpm = tpm !== undefined && tpm !== false;
      return renamed(
        'tpm-not-unlocked',
        hasTpm ? ': it is another TPM, or its measurements (PCRs) changed' : ': the machine has no TPM',
      );
    }
    if (!(await opens({ image, format, passphrase }, signal))) return renamed('luks-passphrase-refused', '');
    const memory = Math.max(0, ...encryption.keySlots.map(({ memoryBytes = 0 }) => memoryBytes));
    return renamed('luks-not-opened', memory === 0 ? '' : `: it needs ${formatBytes(memory)} of memory`);
  }
  if (encryption.isSecondCopy) return renamed('luks-header-damaged', '');
  const words = `${failure.line ?? ''}\n${failure.cause}\n${said}`;
  const wanted = [...words.matchAll(UUID)].map(([uuid]) => uuid.toLowerCase());
  const known = inspection?.partitions.flatMap((partition) =>
    [partition.partitionUuid, partition.filesystem?.uuid, partition.encryption?.uuid].map((uuid) =>
      uuid?.toLowerCase(),
    ),
  );
  const missing = wanted.find((uuid) => known?.includes(uuid) !== true);
  if (missing === undefined) return failure;
  return renamed('luks-uuid-mismatch', `: ${missing}, not ${encryption.uuid}`);
}

async function opens(
  { image, format, passphrase }: Pick<MachineSpec, 'image' | 'format'> & { readonly passphrase: string },
  signal: AbortSignal | undefined,
): Promise<boolean> {
  await using directory = await makePrivateDirectory(tmpdir());
  const passphraseFile = join(directory.path, 'passphrase');
  await writeFile(passphraseFile, passphrase, { mode: 0o600 });
  try {
    await inspectImage({ image, format, passphraseFile }, { signal });
    return true;
  } catch (error) {
    if (error instanceof InvalidOptionsError) return false;
    throw error;
  }
}
