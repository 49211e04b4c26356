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
  readonly firmware: 'legacy' | 'efi';
  /** Of this image and no other. */
  readonly check: string;
  /** Whoever logs in may not power it off, and nothing in it listens to its power button. */
  readonly staysOn?: true;
}

/** Every one of them is good, and is found to be. */
export function testForeignBoots(boots: readonly ForeignBoot[]): void {
  test.each(boots)('$name boots: $firmware', async ({ name, firmware, check, staysOn, ...options }) => {
    const image = await foreignImage(name);
    const report = await verifyBoot({ image, firmware, checks: [commandCheck(check)], ...options });
    expect(report.failure, report.console.slice(-20).join('\n')).toBeUndefined();
    expect(report.cleanShutdown).toBe(staysOn !== true);
  });
}
