import type { EfiArchitecture } from '../../lib/inspect/efi-boot.ts';

/** What a machine is, by the instructions that it runs. */
export type Architecture = 'x86_64' | 'aarch64';

interface ArchitectureFacts {
  readonly qemu: string;
  /** QEMU's machine that is as a server of today. */
  readonly machine: 'q35' | 'virt';
  /** How firmware descriptors name that machine. */
  readonly firmwareMachine: string;
  /** Debian's package of UEFI firmware. */
  readonly firmwarePackage: string;
  /** In the names of EFI loaders: BOOTX64.EFI. @see UEFI Specification, "Removable Media Boot Behavior" */
  readonly efi: EfiArchitecture;
  /** The kernel's name for the machine's serial port. */
  readonly serialPort: string;
}

export const ARCHITECTURES: Readonly<Record<Architecture, ArchitectureFacts>> = {
  x86_64: {
    ...{ qemu: 'qemu-system-x86_64', machine: 'q35', firmwareMachine: 'pc-q35', firmwarePackage: 'ovmf' },
    ...{ efi: 'x64', serialPort: 'ttyS0' },
  },
  aarch64: {
    ...{ qemu: 'qemu-system-aarch64', machine: 'virt', firmwareMachine: 'virt', firmwarePackage: 'qemu-efi-aarch64' },
    ...{ efi: 'aa64', serialPort: 'ttyAMA0' },
  },
};

/** The machine that starts EFI loaders of a name. */
export function architectureOf(efi: EfiArchitecture): Architecture {
  return efi === ARCHITECTURES.aarch64.efi ? 'aarch64' : 'x86_64';
}
