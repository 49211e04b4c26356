import type { Fault } from './fault.ts';
import { DISK_FAULTS } from './faults/disk.ts';
import { EFI_FAULTS } from './faults/efi.ts';
import { FORGED } from './faults/forged.ts';
import { GRUB_FAULTS } from './faults/grub.ts';
import { INIT_FAULTS } from './faults/init.ts';
import { KERNEL_FAULTS } from './faults/kernel.ts';
import { LUKS_FAULTS } from './faults/luks.ts';
import { QUESTIONS } from './faults/questions.ts';
import { SYSLINUX_FAULTS } from './faults/syslinux.ts';
import { UKI_FAULTS } from './faults/uki.ts';

export const FAULTS: readonly Fault[] = [
  ...GRUB_FAULTS,
  ...SYSLINUX_FAULTS,
  ...EFI_FAULTS,
  ...UKI_FAULTS,
  ...DISK_FAULTS,
  ...KERNEL_FAULTS,
  ...INIT_FAULTS,
  ...LUKS_FAULTS,
  ...QUESTIONS,
  ...FORGED,
];
