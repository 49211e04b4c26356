import type { EfiArchitecture } from '../../lib/inspect/efi-boot.ts';

/** A machine's instruction set. */
export type Architecture = 'x86_64' | 'aarch64';

interface ArchitectureFacts {
  readonly qemu: string;
  /** The QEMU machine type that resembles a current server. */
  readonly machine: 'q35' | 'virt';
  /** The prefix of that machine's name in firmware descriptors. */
  readonly firmwareMachine: string;
  /** The Debian package with UEFI firmware. */
  readonly firmwarePackage: string;
  /** The suffix in the names of EFI loaders: BOOTX64.EFI. @see UEFI Specification, "Removable Media Boot Behavior" */
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

/** Returns the architecture that runs EFI loaders with this suffix. */
export function architectureOf(efi: EfiArchitecture): Architecture {
  return efi === ARCHITECTURES.aarch64.efi ? 'aarch64' : 'x86_64';
}
