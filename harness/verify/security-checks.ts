import { type BootCheck, mismatch } from './checks.ts';
import { askSecureBoot } from './secure-boot.ts';

/** Checks that the root filesystem is on a device that dm-crypt opened, directly or below others such as LVM.
 *  @param expected the name in /dev/mapper and the UUID of the LUKS header, if they matter. */
export function checkEncrypted(
  expected: { readonly name?: string | undefined; readonly uuid?: string | undefined } = {},
): BootCheck {
  return {
    name: 'encrypted root',
    async run(machine) {
      // Each device below /, with the dm-crypt devices among them: "CRYPT-LUKS2-UUIDWITHOUTDASHES-NAME".
      const script = String.raw`
        d=$(sed -n 's|^[^ ]* [^ ]* [^ ]* [^ ]* / .* - [^ ]* \([^ ]*\) .*|\1|p' /proc/self/mountinfo | tail -n 1)
        n=$(sed -n 's|^[^ ]* [^ ]* \([0-9:]*\) [^ ]* / .*|\1|p' /proc/self/mountinfo | tail -n 1)
        p=/sys/dev/block/$n; [ -e "$p" ] || p=/sys/class/block/$(basename "$(readlink -f "$d")")
        walk() { cat "$1/dm/uuid" 2>/dev/null; for s in "$1"/slaves/*; do [ -e "$s" ] && walk "$s"; done; }
        walk "$p"; :`;
      const found = (await machine.succeed(script)).split('\n').filter((line) => line.startsWith('CRYPT-'));
      const [first] = found;
      if (first === undefined) throw mismatch('the device of /', 'one that dm-crypt opened', 'none');
      const wanted = `CRYPT-LUKS2-${expected.uuid?.replaceAll('-', '').toLowerCase() ?? ''}`;
      if (expected.uuid !== undefined && !found.some((one) => one.startsWith(`${wanted}-`)))
        throw mismatch('the LUKS header of /', expected.uuid, found.join(', '));
      if (expected.name !== undefined && !found.some((one) => one.endsWith(`-${expected.name}`)))
        throw mismatch('the name of the opened device', expected.name, found.join(', '));
      return first;
    },
  };
}

/** Checks whether Secure Boot is on, from the kernel's view of the SecureBoot variable. `verifyBoot` with `secureBoot` asks the firmware
 *  itself. @see efivarfs in the Linux documentation */
export function checkSecureBoot(expected: 'on' | 'off'): BootCheck {
  return {
    name: 'secure boot',
    async run(machine) {
      const { secureBoot } = await askSecureBoot(machine);
      // Without the variable, the firmware has no Secure Boot.
      const found = secureBoot === 'on' ? 'on' : 'off';
      if (found !== expected) throw mismatch('Secure Boot', expected, found);
      return found;
    },
  };
}

/** Checks that the kernel is locked down, so that root cannot change it. @see kernel_lockdown(7) */
export const checkLockdown: BootCheck = {
  name: 'lockdown',
  async run(machine) {
    const { lockdown } = await askSecureBoot(machine);
    const mode = /\[(\w+)\]/.exec(lockdown)?.[1];
    if (mode === undefined || mode === 'none')
      throw mismatch('the lockdown mode', 'integrity or confidentiality', mode ?? 'not supported by the kernel');
    return mode;
  },
};

/** Checks that the kernel has a TPM 2.0 and that the firmware measured what it started: PCR 7, and PCR 4 for the boot loader. */
export const checkTpm: BootCheck = {
  name: 'TPM',
  async run(machine) {
    const script = 'cd /sys/class/tpm/tpm0 && cat tpm_version_major pcr-sha256/4 pcr-sha256/7';
    const { exitCode, output } = await machine.execute(script);
    const [version = '', ...registers] = output.trim().split('\n');
    if (exitCode !== 0) throw mismatch('a TPM', '2', output.trim());
    if (version !== '2') throw mismatch('the version of the TPM', '2', version);
    if (registers.some((value) => /^0*$/.test(value)))
      throw mismatch('PCR 4 and PCR 7', 'measured by the firmware', registers.join(', '));
    return `2.0, PCR 7 ${registers[1]}`;
  },
};
