import { randomUUID } from 'node:crypto';
import { readPassphrase, readVolumeKey } from '../host-files/disk-secrets.ts';
import { requireNewFile } from '../host-files/given-paths.ts';
import { type EncryptedDevice, readEncryptedDevices } from '../nix/encrypted-devices.ts';
import { type DiskLink, readMounts, splitLink } from '../nix/fstab.ts';
import { resolveStorePath } from '../nix/store.ts';
import { InvalidOptionsError } from '../run/errors.ts';
import type { EncryptSpec } from '../spec/encrypt-spec.ts';
import type { ImageSpec } from '../spec/image-spec.ts';
import { layoutOf } from '../spec/layout.ts';

const STEP = 'buildImage';

/** How the root is encrypted, checked against the system before anything is made. */
export interface EncryptionPlan extends Omit<EncryptSpec, 'name' | 'uuid'> {
  /** In /dev/mapper; undefined when the system was not understood. */
  readonly name: string | undefined;
  readonly uuid: string;
  /** Why the UUID is this one. */
  readonly why: string;
}

/** @throws {InvalidOptionsError} for files that cannot be used, and for a system that would not find its root. */
export async function planEncryption(spec: ImageSpec): Promise<EncryptionPlan | undefined> {
  const { encrypt } = spec;
  if (encrypt === undefined) return undefined;
  await readPassphrase(STEP, encrypt.passphraseFile, 'encrypt.passphraseFile');
  for (const [index, file] of (encrypt.morePassphraseFiles ?? []).entries())
    await readPassphrase(STEP, file, `encrypt.morePassphraseFiles[${index}]`);
  if (encrypt.volumeKeyFile !== undefined) await readVolumeKey(STEP, encrypt.volumeKeyFile, 'encrypt.volumeKeyFile');
  if (encrypt.recoveryKeyFile !== undefined)
    await requireNewFile(STEP, encrypt.recoveryKeyFile, 'encrypt.recoveryKeyFile');
  const found = await openedDevice(spec, encrypt);
  if (found?.header !== undefined)
    throw refusal(
      'encrypt',
      `would not be opened: the initrd of the system reads the LUKS header of ${found.name} from ${found.header}`,
      'leave boot.initrd.luks.devices.NAME.header out',
    );
  const { kind, value }: Partial<DiskLink> = splitLink(found?.device) ?? {};
  const { label = kind === 'label' ? value : undefined } = encrypt;
  const expected = kind === 'uuid' ? value?.toLowerCase() : undefined;
  const uuid = encrypt.uuid?.toLowerCase() ?? expected ?? randomUUID();
  const refuse = (option: string, given: string): InvalidOptionsError =>
    refusal(option, `${given} would not be found: the initrd of the system opens ${found?.device}`);
  if (expected !== undefined && uuid !== expected) throw refuse('encrypt.uuid', uuid);
  if (kind === 'label' && label !== value) throw refuse('encrypt.label', `"${label}"`);
  const { table, partitions } = layoutOf(spec);
  const isGpt = table === 'gpt';
  if (kind === 'partuuid' && isGpt && spec.deterministic && value?.toLowerCase() !== spec.rootGPUID.toLowerCase())
    throw refuse('rootGPUID', spec.rootGPUID);
  const partitionName = partitions.find(({ role }) => role === 'root')?.name;
  if (kind === 'partlabel' && isGpt && value !== partitionName)
    throw refusal(
      'encrypt',
      `would not be found: the initrd of the system opens ${found?.device}, and the name of the root partition is "${partitionName}"`,
      'set boot.initrd.luks.devices.NAME.device to /dev/disk/by-uuid/…',
    );
  const key = found?.keyFile === undefined ? '' : `, with the key in ${found.keyFile}`;
  const why = found === undefined ? 'the initrd could not be read' : `the initrd opens ${found.device}${key}`;
  return { ...encrypt, name: found?.name ?? encrypt.name, uuid, label, why };
}

/** The device of the root that the system's initrd opens; undefined when the initrd cannot be read. */
async function openedDevice(spec: ImageSpec, { name }: EncryptSpec): Promise<EncryptedDevice | undefined> {
  const store = spec.store ?? '/';
  const toplevel = await resolveStorePath(STEP, spec.toplevel, 'toplevel', spec.store);
  const mounted = (await readMounts(store, toplevel)).find(({ mountPoint }) => mountPoint === '/')?.device;
  const ofRoot = /^\/dev\/mapper\/(.+)$/.exec(mounted ?? '')?.[1];
  if (name !== undefined && ofRoot !== undefined && name !== ofRoot)
    throw refusal('encrypt.name', `"${name}" is not the root of the system, which mounts ${mounted}`);
  const devices = await readEncryptedDevices(store, `${toplevel}/initrd`);
  if (devices === undefined) return undefined;
  if (devices.length === 0)
    throw refusal(
      'encrypt',
      'the system opens no encrypted device when it boots: boot.initrd.luks.devices is empty',
      'set boot.initrd.luks.devices.NAME.device, and fileSystems."/".device = "/dev/mapper/NAME"',
    );
  const wanted = name ?? ofRoot;
  const found = wanted === undefined && devices.length === 1 ? devices[0] : devices.find((one) => one.name === wanted);
  if (found !== undefined) return found;
  const names = devices.map((one) => one.name).join(', ');
  throw refusal(
    'encrypt.name',
    wanted === undefined
      ? `is required, because the system opens several devices: ${names}`
      : `the system does not open "${wanted}" when it boots, only ${names}`,
  );
}

function refusal(path: string, message: string, hint?: string): InvalidOptionsError {
  return new InvalidOptionsError(STEP, [{ path, message }], hint === undefined ? {} : { hint });
}
