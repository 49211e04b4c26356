import { InvalidArgumentError, Option } from 'commander';
import type { MachineOptions, SecureBootOption } from '../harness/machine/machine-spec.ts';
import { driverOf, IMAGE_FORMATS } from '../lib/formats/image-formats.ts';
import { InvalidOptionsError } from '../lib/run/errors.ts';

/** How several commands read their arguments. */

/** The formats of an image that is read. */
export const READ_FORMATS = IMAGE_FORMATS.filter((format) => format === driverOf(format)).join(', ');

export function wholeNumber(text: string): number {
  if (!/^[1-9]\d*$/.test(text)) throw new InvalidArgumentError('must be a whole number above 0');
  return Number(text);
}

/** Collects an option that may be given several times. */
export function repeated(value: string, before: readonly string[] = []): string[] {
  return [...before, value];
}

/** "legacy" is the old name of "bios". */
export function firmwareOption(flags: string, description: string): Option {
  const option = new Option(flags, description).choices(['bios', 'efi']);
  const parse = option.parseArg;
  return option.argParser<unknown>((value, previous) => {
    try {
      return parse?.(value === 'legacy' ? 'bios' : value, previous);
    } catch (error) {
      if (!option.variadic || !(error instanceof InvalidArgumentError)) throw error;
      throw new InvalidArgumentError(`${error.message} If it is the image, write it before ${option.long}.`);
    }
  });
}

/** What is passed to the firmware, the boot loader and the system of a machine. */
export function guestOptions(): Option[] {
  return [
    new Option(
      '--efi-vars <file>',
      'a store of EFI variables, such as efi-vars.fd: the firmware starts what its boot order says',
    ),
    new Option(
      '--kernel-parameters <words>',
      'kernel parameters that systemd-boot 254 and newer adds, such as console=ttyS0',
    ),
    new Option(
      '--credential <name=value>',
      'a system credential of systemd, passed through SMBIOS; may be repeated',
    ).argParser(repeated),
  ];
}

/** Secure Boot that the firmware of a machine must enforce. */
export function secureBootOptions(): Option[] {
  return [
    new Option(
      '--secure-boot',
      "boot with firmware that enforces Secure Boot, by the keys in --efi-vars, or else by its own, which are Microsoft's",
    ),
    new Option(
      '--enroll <certificate...>',
      'the same with the keys of these certificates (PEM) in the firmware, such as keys/db/db.pem',
    ),
    new Option(
      '--setup-mode',
      'the same with firmware that has no keys yet: the image must enroll them when it is booted',
    ).conflicts(['enroll', 'efiVars']),
  ];
}

/** The TPM of a machine. */
export function tpmOptions(): Option[] {
  return [
    new Option('--tpm', 'give the machine a TPM 2.0, a new one for each boot; needs swtpm'),
    new Option(
      '--tpm-state <directory>',
      'the same, with a TPM that keeps its state in this directory and is used again; made if it does not exist',
    ),
  ];
}

export interface TpmFlags {
  readonly tpm?: boolean;
  readonly tpmState?: string;
}

export function tpmOf({ tpm, tpmState }: TpmFlags): MachineOptions['tpm'] {
  return tpmState === undefined ? tpm : { stateDirectory: tpmState };
}

export interface SecureBootFlags {
  readonly secureBoot?: boolean;
  readonly enroll?: readonly string[];
  readonly setupMode?: boolean;
}

export function secureBootOf({ secureBoot, enroll, setupMode }: SecureBootFlags): SecureBootOption | undefined {
  if (enroll !== undefined) return { enroll };
  return setupMode === true ? 'setup-mode' : secureBoot;
}

/** `NAME=VALUE`, each given once or more.
 *  @throws {InvalidOptionsError} */
export function parseCredentials(command: string, credentials: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    credentials.map((credential, index) => {
      const at = credential.indexOf('=');
      if (at < 1)
        throw new InvalidOptionsError(command, [
          { path: `--credential (number ${index + 1})`, message: `"${credential}" is not NAME=VALUE` },
        ]);
      return [credential.slice(0, at), credential.slice(at + 1)];
    }),
  );
}

/** The machine of those commands that boot one. */
export function machineOptions(): Option[] {
  return [
    new Option('--memory <MiB>', 'memory of the machine, in MiB; default 1024').argParser(wholeNumber),
    new Option('--disk-interface <interface>', 'disk controller of the machine; default virtio').choices([
      'virtio',
      'ahci',
      'nvme',
    ]),
    new Option('--accel <accelerator>', 'default: KVM if a probe shows that it works').choices(['kvm', 'tcg']),
  ];
}
