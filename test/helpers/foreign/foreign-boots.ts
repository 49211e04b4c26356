import { expect, test } from 'vitest';
import { commandCheck } from '../../../harness/verify/checks.ts';
import { type VerifyBootOptions, verifyBoot } from '../../../harness/verify/verify-boot.ts';
import { type ForeignImage, foreignImage } from './foreign-image.ts';

/** The users who may log in to each image. */
export const ROOT = { user: 'root', password: 'foreign' };
/** May run any command with sudo and a password. */
export const WHEEL = { user: 'wheel', password: 'foreign' };
/** May not use sudo. */
export const PLAIN = { user: 'plain', password: 'foreign' };

export const PASSPHRASE = 'correct horse';

/** An image, how it is booted, and checks of the booted system. */
export interface ForeignBoot extends Pick<VerifyBootOptions, 'login' | 'passphrase'> {
  readonly name: ForeignImage;
  readonly firmware: 'bios' | 'efi';
  /** A check that is specific to this image. */
  readonly check: string;
  /** The user may not power the guest off, and the guest ignores its power button. */
  readonly staysOn?: true;
}

/** Systems with only busybox, one for each way to start a kernel: no systemd, no bash, and a silent init. */
export const BUSYBOX_BOOTS: readonly ForeignBoot[] = [
  { name: 'busybox-grub', firmware: 'bios', login: ROOT, check: 'test ! -e /sys/firmware/efi' },
  { name: 'busybox-grub', firmware: 'efi', login: ROOT, check: 'test -d /sys/firmware/efi' },
  { name: 'busybox-grub-menu', firmware: 'bios', login: ROOT, check: 'grep -q " quiet " /proc/cmdline' },
  { name: 'busybox-systemd-boot', firmware: 'efi', login: ROOT, check: 'test ! -e /boot/vmlinuz' },
  {
    name: 'busybox-uki',
    firmware: 'efi',
    login: ROOT,
    check: 'test "$(cat /proc/cmdline)" = "console=tty0 console=ttyS0"',
  },
  { name: 'busybox-uki-systemd-boot', firmware: 'efi', login: ROOT, check: 'grep -q ^quiet /proc/cmdline' },
  { name: 'busybox-syslinux', firmware: 'bios', login: ROOT, check: 'grep -q askfirst /etc/inittab' },
];

/** The options of verifyBoot for one of them. */
export async function foreignOptions({ name, firmware, check, ...options }: ForeignBoot): Promise<VerifyBootOptions> {
  return { image: await foreignImage(name), firmware, checks: [commandCheck(check)], ...options };
}

/** Defines a test for each image: all are good, and must have a good verdict. */
export function testForeignBoots(boots: readonly ForeignBoot[]): void {
  test.each(boots)('$name boots: $firmware', async ({ staysOn, ...boot }) => {
    const report = await verifyBoot(await foreignOptions(boot));
    expect(report.failure, report.console.slice(-20).join('\n')).toBeUndefined();
    expect(report.cleanShutdown).toBe(staysOn !== true);
  });
}
