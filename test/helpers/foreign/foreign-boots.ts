import { expect, test } from 'vitest';
import { commandCheck } from '../../../harness/verify/checks.ts';
import { type VerifyBootOptions, verifyBoot } from '../../../harness/verify/verify-boot.ts';
import { type ForeignImage, foreignImage } from './foreign-image.ts';

/** Who may log in to each of the images. */
export const ROOT = { user: 'root', password: 'foreign' };
/** May run anything by sudo, with a password. */
export const WHEEL = { user: 'wheel', password: 'foreign' };
/** May not. */
export const PLAIN = { user: 'plain', password: 'foreign' };

export const PASSPHRASE = 'correct horse';

/** An image, how it is booted, and what is true inside. */
export interface ForeignBoot extends Pick<VerifyBootOptions, 'login' | 'passphrase'> {
  readonly name: ForeignImage;
  readonly firmware: 'bios' | 'efi';
  /** Of this image and no other. */
  readonly check: string;
  /** Whoever logs in may not power it off, and nothing in it listens to its power button. */
  readonly staysOn?: true;
}

/** Systems of busybox alone, one for each way to start a kernel: no systemd, no bash, and an init that does not say that it starts. */
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

/** What verifyBoot is told for one of them. */
export async function foreignOptions({ name, firmware, check, ...options }: ForeignBoot): Promise<VerifyBootOptions> {
  return { image: await foreignImage(name), firmware, checks: [commandCheck(check)], ...options };
}

/** Every one of them is good, and is found to be. */
export function testForeignBoots(boots: readonly ForeignBoot[]): void {
  test.each(boots)('$name boots: $firmware', async ({ staysOn, ...boot }) => {
    const report = await verifyBoot(await foreignOptions(boot));
    expect(report.failure, report.console.slice(-20).join('\n')).toBeUndefined();
    expect(report.cleanShutdown).toBe(staysOn !== true);
  });
}
