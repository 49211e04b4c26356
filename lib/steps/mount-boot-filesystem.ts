import { z } from 'zod';
import { defineStep, type Step } from '../run/define-step.ts';
import { UnexpectedStateError } from '../run/errors.ts';
import { absolutePath, fatLabel, volumeId } from '../spec/fields.ts';

const STEP = 'mountBootFilesystem';

const schema = z.object({
  /** The partition's device. */
  device: absolutePath,
  /** The directory on which to mount it; created if it does not exist. */
  mountPoint: absolutePath,
  /** At most 11 bytes; default "ESP". make-disk-image labels the XBOOTLDR partition and legacy+boot's "BOOT". */
  label: fatLabel.default('ESP'),
  /** 8 hexadecimal digits; default: derived from the current time. */
  volumeId: volumeId.optional(),
});

export interface MountBootFilesystemOptions extends z.input<typeof schema> {}

export interface MountedBootFilesystem {
  readonly mountPoint: string;
  /** As in /dev/disk/by-uuid: `1234-ABCD`. Read back from the device. */
  readonly uuid: string;
}

/** Arguments of mkfs.vfat, which chooses FAT12, 16 or 32 by size: a FAT32 with too few clusters is invalid. */
export function mountBootFilesystemArgs(device: string, label: string, volumeId?: string): string[] {
  return ['mkfs.vfat', '-n', label, ...(volumeId === undefined ? [] : ['-i', volumeId]), device];
}

/** Makes a FAT filesystem on the EFI system partition (or XBOOTLDR, or /boot) and mounts it.
 *  @see mkfs.fat(8); UEFI specification 13.3. Runs: blkid, mkdir, mkfs.vfat, mount. */
export const mountBootFilesystem: Step<MountBootFilesystemOptions, MountedBootFilesystem> = defineStep({
  name: STEP,
  options: schema,
  runs: ['mkfs.vfat', 'mkdir', 'mount', 'blkid'],
  where: 'anywhere',
  detail: ({ device, label }) => `${label} on ${device}`,
  async run(step, { device, mountPoint, label, volumeId: id }) {
    await step.run(mountBootFilesystemArgs(device, label, id), { what: `cannot make the FAT filesystem on ${device}` });
    await step.run(['mkdir', '-p', mountPoint]);
    // umask=0077, as NixOS's systemd-boot module recommends, to protect the random seed on the ESP.
    await step.run(['mount', '-t', 'vfat', '-o', 'umask=0077', device, mountPoint], { what: `cannot mount ${device}` });
    const { stdout } = await step.run(['blkid', '-o', 'value', '-s', 'UUID', device]);
    const uuid = stdout.toString('utf8').trim();
    if (!/^[0-9A-F]{4}-[0-9A-F]{4}$/.test(uuid))
      throw new UnexpectedStateError(STEP, `${device} has no FAT volume ID`, { expected: 'XXXX-XXXX', found: uuid });
    return { mountPoint, uuid };
  },
});
