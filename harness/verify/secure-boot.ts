import { EFI_GLOBAL, readVariables } from '../../lib/formats/efi-variables.ts';
import { secureBootKeys } from '../../lib/formats/secure-boot/trust.ts';
import type { Machine } from '../machine/machine.ts';
import { type Cause, secureBootCause } from '../verdict/verdict.ts';

/** The kernel's view of the firmware: one byte behind four of attributes. @see UEFI specification 3.3, SecureBoot */
const QUESTION = String.raw`
mount -t efivarfs efivarfs /sys/firmware/efi/efivars 2> /dev/null
v=$(od -An -tu1 /sys/firmware/efi/efivars/SecureBoot-@ 2> /dev/null | tr -d ' \n')
case $v in ?*1) echo on ;; ?*0) echo off ;; *) echo unknown ;; esac
f=/sys/kernel/security/lockdown; [ -e $f ] || mount -t securityfs securityfs /sys/kernel/security 2> /dev/null
cat $f 2> /dev/null || :
`.replace('@', EFI_GLOBAL);

/** What the kernel says: Secure Boot "on", "off" or "unknown", and the modes of lockdown, of which the current one is in brackets. */
export async function askSecureBoot(
  machine: Machine,
): Promise<{ readonly secureBoot: string; readonly lockdown: string }> {
  const { output } = await machine.execute(QUESTION);
  const [secureBoot = 'unknown', lockdown = ''] = output.trim().split('\n');
  return { secureBoot, lockdown };
}

/** Asks the firmware's own store, which no guest can forge, and then the guest.
 *  @see kernel_lockdown(7) */
export async function lookAtSecureBoot(machine: Machine): Promise<{ cause?: Cause; warnings: string[] }> {
  const variables = readVariables((await machine.efiVariables()) ?? Buffer.alloc(0));
  if (variables !== undefined) {
    if (secureBootKeys(variables).isSetupMode)
      return { cause: secureBootCause('secure-boot-setup-mode', ''), warnings: [] };
    const enabled = variables.find(({ name }) => name === 'SecureBootEnable')?.data[0];
    if (enabled === 0)
      return { cause: secureBootCause('secure-boot-off', ': the firmware has it disabled'), warnings: [] };
  }
  if (!machine.isLoggedIn) return { warnings: [] };
  const { secureBoot: state, lockdown } = await askSecureBoot(machine);
  if (state === 'off') return { cause: secureBootCause('secure-boot-off', ', according to the kernel'), warnings: [] };
  const warnings = [
    ...(state === 'on' ? [] : ['the guest cannot read the EFI variable SecureBoot; the firmware enforces it']),
    ...(/\[none\]/.test(lockdown)
      ? ['Secure Boot is on, and the kernel is not locked down: root may load unsigned modules (kernel_lockdown(7))']
      : []),
  ];
  return { warnings };
}
