import type { DiskFormat } from '../../lib/formats/image-formats.ts';
import type { Architecture } from '../qemu/architecture.ts';
import type { DiskInterface, MachineType } from '../qemu/argv.ts';
import type { StageSeen } from '../verdict/stages.ts';
import type { PlaceHolder } from './admission.ts';
import type { HangBudget } from './hang-watch.ts';

export type Firmware = 'bios' | 'efi' | 'direct';

/** The firmware in options: "legacy" is the old name of "bios", accepted until the next minor version. */
export type FirmwareName = Firmware | 'legacy';

export function firmwareNamed(name: FirmwareName): Firmware {
  return name === 'legacy' ? 'bios' : name;
}

/** A kernel that QEMU starts directly, for images without a boot loader. */
export interface DirectKernel {
  readonly kernel: string;
  readonly initrd?: string | undefined;
  /** The kernel parameters, including `init=`. */
  readonly commandLine: string;
}

export interface MachineSpec {
  /** A disk image in any format of make-disk-image; never written to. */
  readonly image: string;
  /** Default: detected from the file's magic number. */
  readonly format?: DiskFormat | undefined;
  /** Default "x86_64"; verifyBoot detects it from the image's EFI loaders. "aarch64" supports the firmware "efi" and "direct" and
   *  is always emulated. */
  readonly architecture?: Architecture | undefined;
  /** "bios" is SeaBIOS, "efi" is OVMF, "direct" starts `kernel` without a boot loader. */
  readonly firmware: Firmware;
  readonly kernel?: DirectKernel | undefined;
  /** Default "virtio". */
  readonly diskInterface?: DiskInterface | undefined;
  /** The size of the machine's disk in bytes, if larger than the image; default: the image's size. */
  readonly diskBytes?: number | undefined;
  /** A qcow2 file that keeps what the machine writes; created if it does not exist, otherwise continued. Default: a private one, which goes
   *  with the machine. */
  readonly overlay?: string | undefined;
  /** The sector size of the machine's disk in bytes; default 512. verifyBoot detects it from the image's partition table. */
  readonly sectorBytes?: 512 | 4096 | undefined;
  /** MiB; default 1024. */
  readonly memoryMiB?: number | undefined;
  /** Default 1. */
  readonly cpus?: number | undefined;
  /** Default: KVM if a probe shows that it works, otherwise TCG. */
  readonly accelerator?: 'kvm' | 'tcg' | undefined;
  readonly machine?: MachineType | undefined;
  /** A file with EFI variables, such as efi-vars.fd; the machine uses a copy, and the firmware boots according to BootOrder.
   *  Default: empty variables, and the firmware boots from the disk. */
  readonly efiVariables?: string | undefined;
  /** The firmware must enforce Secure Boot: by the keys in `efiVariables`, or else by its own (Microsoft's, as a rule). "setup-mode": it
   *  has no keys, and the image enrolls them when it is booted. `enroll`: by these certificates in PEM. Default: where
   *  `efiVariables` has keys. */
  readonly secureBoot?: SecureBootOption | undefined;
  /** A TPM 2.0: true for a new one, which ends with the machine; `stateDirectory` for one that keeps its state there and is used again.
   *  Default: none. */
  readonly tpm?: boolean | { readonly stateDirectory: string } | undefined;
  /** Ports on this host's loopback interface to forward to the guest; default: none, and no network. */
  readonly forwardPorts?: readonly { readonly hostPort: number; readonly guestPort: number }[] | undefined;
  /** Kernel parameters, passed through SMBIOS, that systemd-boot (254 and newer) adds; other loaders ignore them. */
  readonly kernelParameters?: string | undefined;
  /** The time limit of a command in the guest in milliseconds; default: 60 s under KVM, 300 s under TCG. */
  readonly commandTimeoutMs?: number | undefined;
  /** The machine's name in messages; default: the image's name and the firmware. */
  readonly name?: string | undefined;
  /** A file for the console log, written as output arrives; default: a private file that is removed when the machine ends. */
  readonly logFile?: string | undefined;
  /** systemd credentials by name, passed through SMBIOS. @see systemd.system-credentials(7) */
  readonly credentials?: Readonly<Record<string, string>> | undefined;
  /** How many times the guest may reboot before the login; default 0: a reboot ends the machine. */
  readonly allowReboots?: number | undefined;
  /** Typed when the boot asks for the passphrase of an encrypted disk. */
  readonly passphrase?: string | undefined;
  /** Text to type, followed by Enter, when the console waits at a line that matches. */
  readonly answers?: readonly BootAnswer[] | undefined;
}

export type SecureBootOption = boolean | 'setup-mode' | { readonly enroll: readonly string[] };

/** The options of startMachine and verifyBoot. */
export interface MachineOptions extends Omit<MachineSpec, 'firmware'> {
  /** "bios" is SeaBIOS, "efi" is OVMF, "direct" starts `kernel` without a boot loader. */
  readonly firmware: FirmwareName;
}

/** An answer to a question from the guest. */
export interface BootAnswer {
  /** The line with the cursor contains this text, or matches it. */
  readonly pattern: string | RegExp;
  readonly text: string;
}

/** The answers that may be typed at a machine's questions. */
export interface BootAnswers {
  readonly passphrase: string | undefined;
  readonly answers: readonly BootAnswer[];
}

export interface MachineContext {
  readonly signal?: AbortSignal | undefined;
  readonly onStage?: ((seen: StageSeen) => void) | undefined;
  /** Called with the machine's console output, byte for byte. */
  readonly onConsole?: ((data: Uint8Array) => void) | undefined;
  /** Called by verifyBoot with the current holders if other machines hold all places. */
  readonly onWait?: ((holders: readonly PlaceHolder[]) => void) | undefined;
}

export interface WaitOptions {
  /** The time limit in milliseconds; default: the machine's, which is longer under TCG. */
  readonly timeoutMs?: number | undefined;
  /** How long the machine may be busy or idle without new output; "as usual" chooses by the boot's stage and the accelerator.
   *  Default: no limit, except while the machine boots. */
  readonly hang?: HangBudget | 'as usual' | undefined;
  /** Whether the image is known not to boot, so that the first sign of failure is believed. */
  readonly doomed?: boolean | undefined;
  /** Whether the image's loader entries name a serial console; default: unknown. */
  readonly serialConsole?: boolean | undefined;
}

/** The result of a command in the guest. */
export interface GuestResult {
  readonly exitCode: number;
  /** Standard output and standard error, in the order of arrival. */
  readonly output: string;
}
