import type { Fault } from '../fault.ts';
import { BOOTX64, forArm, half } from '../parts.ts';

const UKI = /Linux\/nixos\.efi$/;

/** Finds a section in a PE file. @see Microsoft, "PE Format", "Section Table" */
function section(program: Buffer, name: string): { header: number; offset: number; size: number } {
  const header = program.indexOf(Buffer.from(name.padEnd(8, '\0')));
  if (header === -1) throw new Error(`there is no section ${name}`);
  return { header, offset: program.readUInt32LE(header + 20), size: program.readUInt32LE(header + 16) };
}

const without =
  (name: string) =>
  (program: Buffer): Buffer => {
    program.write('.other\0\0', section(program, name).header, 'latin1');
    return program;
  };

/** Faults of unified kernel images, started by the firmware or by systemd-boot. */
export const UKI_FAULTS: readonly Fault[] = [
  {
    fault: 'UKI cut in half',
    ...{ base: 'uki', firmware: 'efi', stage: 'firmware', name: 'loader-cut', cause: /cut off/ },
    breakIt: (image) => image.changeOnEsp(BOOTX64, half),
  },
  {
    fault: 'UKI for another architecture',
    ...{ base: 'uki', firmware: 'efi', stage: 'firmware', name: 'loader-damaged', cause: /aa64/ },
    breakIt: (image) => image.changeOnEsp(BOOTX64, forArm),
  },
  {
    fault: 'UKI without .linux',
    ...{ base: 'uki', firmware: 'efi', stage: 'firmware', name: 'uefi-shell', cause: /\.linux|no EFI boot loader/ },
    breakIt: (image) => image.changeOnEsp(BOOTX64, without('.linux')),
  },
  {
    fault: 'UKI without .initrd',
    ...{ base: 'uki', firmware: 'efi', stage: 'kernel', name: 'kernel-panic-no-root', cause: /no usable initrd/ },
    breakIt: (image) => image.changeOnEsp(BOOTX64, without('.initrd')),
  },
  {
    fault: 'UKI cut in half (systemd-boot)',
    ...{ base: 'uki-systemd-boot', firmware: 'efi', stage: 'loader', name: 'kernel-cut', cause: /cut off/ },
    breakIt: (image) => image.changeOnEsp(UKI, half),
  },
  {
    fault: 'UKI without .osrel, which systemd-boot skips',
    ...{ base: 'uki-systemd-boot', firmware: 'efi', stage: 'loader', name: 'no-entries', cause: /no entry|\.osrel/ },
    breakIt: (image) => image.changeOnEsp(UKI, without('.osrel')),
  },
  {
    fault: 'UKI without .linux (systemd-boot)',
    ...{ base: 'uki-systemd-boot', firmware: 'efi', stage: 'loader', name: 'entry-file-missing', cause: /no kernel/ },
    breakIt: (image) => image.changeOnEsp(UKI, without('.linux')),
  },
];
