import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makePrivateDirectory } from '../../lib/host-files/private-output.ts';
import { type ImageInspection, inspectImage } from '../../lib/inspect/inspect-image.ts';
import { AbortedError, InvalidOptionsError } from '../../lib/run/errors.ts';
import { formatBytes } from '../../lib/units.ts';
import type { MachineSpec } from '../machine/machine-spec.ts';
import { encryptionCause } from '../verdict/verdict.ts';
import type { BootFailure } from './boot-report.ts';

/** Messages when there is a volume key and the kernel does not make the device. @see cryptsetup lib/libdevmapper.c; Linux
 *  drivers/md/dm-crypt.c, dm-table.c */
const NO_DEVICE =
  /Cannot initialize device-mapper|Failed to setup dm-crypt|device-mapper: (?:reload|table|create) ioctl.*failed|device-mapper: table: .*crypt.*|Check that kernel supports \S+ cipher/;

/** A line that says that a device did not appear. @see NixOS luksroot.nix; systemd src/core/job.c; initramfs-tools
 *  cryptroot-functions; dracut modules.d/90crypt */
const ABSENT = /is unavailable|does not exist|not found|Timed out waiting for device|to appear ?\.* - failure/i;

/** A device in such a line: a link in /dev/disk, the same as systemd escapes it, or a tag. */
const DEVICE =
  /(?:by-(uuid|label|partuuid|partlabel)[/-]|\b(?:LUKS )?(UUID|LABEL|PARTUUID|PARTLABEL)[= ]"?)([^\s"',;]+)/;

/** Finds out why an encrypted root was not opened, by opening it on this host. The guest prints the same line for another passphrase
 *  and for damaged key slots, and another one if it only has to wait for a device.
 *  @param typed whether the passphrase was typed.
 *  @returns the failure, renamed if the LUKS header explains it. */
export async function explainEncryption(
  failure: BootFailure,
  inspection: ImageInspection | undefined,
  { image, format, passphrase, tpm }: Pick<MachineSpec, 'image' | 'format' | 'passphrase' | 'tpm'>,
  typed: boolean,
  signal: AbortSignal | undefined,
): Promise<BootFailure> {
  const first = inspection?.partitions.find(({ encryption }) => encryption !== undefined);
  if (inspection === undefined || first?.encryption === undefined || failure.stage !== 'stage 1') return failure;
  const { number, encryption } = first;
  const renamed = (how: Parameters<typeof encryptionCause>[0], found: string): BootFailure => ({
    ...failure,
    ...encryptionCause(how, number, `${found}; seen during the boot: ${failure.cause}`),
  });
  const lines = [failure.line ?? '', failure.cause, ...failure.lastLines];
  const [line] = NO_DEVICE.exec(lines.join('\n')) ?? [];
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
    const isRight = await opens({ image, format, passphrase }, signal);
    if (isRight === undefined) return failure;
    if (!isRight) return renamed('luks-passphrase-refused', '');
    const memory = Math.max(0, ...encryption.keySlots.map(({ memoryBytes = 0 }) => memoryBytes));
    return renamed('luks-not-opened', memory === 0 ? '' : `: it needs ${formatBytes(memory)} of memory`);
  }
  // Then the header was found, and something else is missing.
  if (typed) return failure;
  if (encryption.isSecondCopy) return renamed('luks-header-damaged', '');
  const missing = missingDevice(lines, inspection);
  if (missing === undefined) return failure;
  const { uuid, label } = encryption;
  return renamed(
    'luks-device-missing',
    `: it waits for ${missing}; the header has the UUID ${uuid}${label === '' ? '' : ` and the label "${label}"`}`,
  );
}

/** Finds a device that a guest waited for in vain, and that the image has not. @param lines of the guest. */
export function missingDevice(
  lines: readonly string[],
  { partitions }: Pick<ImageInspection, 'partitions'>,
): string | undefined {
  for (const line of lines) {
    // systemd writes a dash in a unit's name as \x2d.
    const text = line.replaceAll('\\x2d', '-');
    if (!ABSENT.test(text)) continue;
    const [, link, tag = link, name = ''] = DEVICE.exec(text) ?? [];
    if (tag === undefined) continue;
    const kind = tag.toLowerCase();
    const value = name.replace(/\.device$|[.)]+$/, '');
    const known = partitions.flatMap(({ name: partitionName, partitionUuid, filesystem, encryption }) => {
      if (kind === 'partlabel') return [partitionName];
      if (kind === 'partuuid') return [partitionUuid];
      return [filesystem, encryption].map((one) => (kind === 'uuid' ? one?.uuid : one?.label));
    });
    if (!known.some((one) => one?.toLowerCase() === value.toLowerCase())) return `/dev/disk/by-${kind}/${value}`;
  }
  return undefined;
}

/** Whether the passphrase opens an encrypted partition on this host; undefined when this host cannot find out. */
async function opens(
  { image, format, passphrase }: Pick<MachineSpec, 'image' | 'format'> & { readonly passphrase: string },
  signal: AbortSignal | undefined,
): Promise<boolean | undefined> {
  try {
    await using directory = await makePrivateDirectory(tmpdir());
    const passphraseFile = join(directory.path, 'passphrase');
    await writeFile(passphraseFile, passphrase, { mode: 0o600 });
    const { partitions } = await inspectImage({ image, format, passphraseFile }, { signal });
    return partitions.some(({ encryption }) => encryption?.filesystem !== undefined) || undefined;
  } catch (error) {
    if (error instanceof AbortedError) throw error;
    // Such as ToolMissingError: the boot has its verdict without that.
    return error instanceof InvalidOptionsError ? false : undefined;
  }
}
