import type { DiskFormat } from '../../lib/formats/image-formats.ts';
import type { Architecture } from '../qemu/architecture.ts';
import type { DiskInterface, MachineType } from '../qemu/argv.ts';
import type { StageSeen } from '../verdict/stages.ts';
import type { PlaceHolder } from './admission.ts';
import type { HangBudget } from './hang-watch.ts';

export type Firmware = 'bios' | 'efi' | 'direct';

/** As options name it: "legacy" is the old name of "bios", taken until the next minor version. */
export type FirmwareName = Firmware | 'legacy';

export function firmwareNamed(name: FirmwareName): Firmware {
  return name === 'legacy' ? 'bios' : name;
}

/** A kernel that QEMU starts itself, for images without a loader. */
export interface DirectKernel {
  readonly kernel: string;
  readonly initrd?: string | undefined;
  /** The kernel's parameters, `init=` included. */
  readonly commandLine: string;
}

export interface MachineSpec {
  /** A disk image in any format of make-disk-image; only read. */
  readonly image: string;
  /** Default: told from the file's magic number. */
  readonly format?: DiskFormat | undefined;
  /** Default "x86_64"; verifyBoot tells it from the image's EFI loaders. "aarch64" has firmware "efi" or "direct", and is always
   *  emulated. */
  readonly architecture?: Architecture | undefined;
  /** "bios" is SeaBIOS, "efi" OVMF, "direct" starts `kernel` without firmware or loader. */
  readonly firmware: Firmware;
  readonly kernel?: DirectKernel | undefined;
  /** Default "virtio". */
  readonly diskInterface?: DiskInterface | undefined;
  /** The machine's disk is enlarged to this many bytes; default: as large as the image. */
  readonly diskBytes?: number | undefined;
  /** A qcow2 file that keeps what the machine writes; made where it is not there, else gone on with. Default: a private one, which goes
   *  with the machine. */
  readonly overlay?: string | undefined;
  /** Bytes of a sector of the machine's disk; verifyBoot tells it from the image's partition table. Default 512. */
  readonly sectorBytes?: 512 | 4096 | undefined;
  /** MiB; default 1024. */
  readonly memoryMiB?: number | undefined;
  /** Default 1. */
  readonly cpus?: number | undefined;
  /** Default: KVM where a functional probe finds that it works, else TCG. */
  readonly accelerator?: 'kvm' | 'tcg' | undefined;
  readonly machine?: MachineType | undefined;
  /** A store of EFI variables, such as efi-vars.fd, of which the machine has its own copy; the firmware then starts what
   *  BootOrder says. Default: an empty one, and the firmware starts the disk. */
  readonly efiVariables?: string | undefined;
  /** The firmware must enforce Secure Boot: by the keys in `efiVariables`, or else by its own (Microsoft's, as a rule). "setup-mode": it
   *  has no keys, and the image enrolls them when it is booted. `enroll`: by these certificates in PEM. Default: where
   *  `efiVariables` has keys. */
  readonly secureBoot?: SecureBootOption | undefined;
  /** Ports of this host's loopback that lead to ports of the guest; default: none, and no network at all. */
  readonly forwardPorts?: readonly { readonly hostPort: number; readonly guestPort: number }[] | undefined;
  /** What systemd-boot (254 and newer) adds to the kernel's parameters, told through SMBIOS; others do not look there. */
  readonly kernelParameters?: string | undefined;
  /** Milliseconds that a command in the guest may take; default 60 s under KVM, 300 s under TCG. */
  readonly commandTimeoutMs?: number | undefined;
  /** For messages; default: the image's name and the firmware. */
  readonly name?: string | undefined;
  /** Where the console's record is written, as it comes; default: only with the machine's private files, which go when it ends. */
  readonly logFile?: string | undefined;
  /** Credentials of systemd's, by name, through SMBIOS. @see systemd.system-credentials(7) */
  readonly credentials?: Readonly<Record<string, string>> | undefined;
  /** How often the guest may restart itself before the login; default 0: a restart ends the machine. */
  readonly allowReboots?: number | undefined;
  /** Typed where the boot asks for the passphrase of an encrypted disk. */
  readonly passphrase?: string | undefined;
  /** What is typed, with Enter, where the console waits at a line that matches. */
  readonly answers?: readonly BootAnswer[] | undefined;
}

export type SecureBootOption = boolean | 'setup-mode' | { readonly enroll: readonly string[] };

/** What startMachine and verifyBoot take. */
export interface MachineOptions extends Omit<MachineSpec, 'firmware'> {
  /** "bios" is SeaBIOS, "efi" OVMF, "direct" starts `kernel` without firmware or loader. */
  readonly firmware: FirmwareName;
}

/** An answer to a question of the guest's. */
export interface BootAnswer {
  /** The line behind which the cursor stands contains this text, or matches. */
  readonly pattern: string | RegExp;
  readonly text: string;
}

/** What a machine may be answered. */
export interface BootAnswers {
  readonly passphrase: string | undefined;
  readonly answers: readonly BootAnswer[];
}

export interface MachineContext {
  readonly signal?: AbortSignal | undefined;
  readonly onStage?: ((seen: StageSeen) => void) | undefined;
  /** What the machine sends to its console, byte for byte. */
  readonly onConsole?: ((data: Uint8Array) => void) | undefined;
  /** Called by verifyBoot when other machines have all places, with those that have them. */
  readonly onWait?: ((holders: readonly PlaceHolder[]) => void) | undefined;
}

export interface WaitOptions {
  /** Milliseconds; default: the machine's own, which is longer under TCG. */
  readonly timeoutMs?: number | undefined;
  /** Give up on a machine that computes this long, or does nothing this long, without showing anything; "as usual" is by the
   *  stage of the boot and the accelerator. Default: it may, except while it boots. */
  readonly hang?: HangBudget | 'as usual' | undefined;
  /** The image is known not to boot: the first sign of it is believed. */
  readonly doomed?: boolean | undefined;
  /** Whether the image's loader entries name a serial console; default: not known. */
  readonly serialConsole?: boolean | undefined;
}

/** What a command in the guest did. */
export interface GuestResult {
  readonly exitCode: number;
  /** Standard output and standard error, in the order they came. */
  readonly output: string;
}
