import { MIB } from '../../../../lib/units.ts';
import { run } from '../../../helpers/run.ts';
import { loginOnScreen, withoutConsole } from '../changes.ts';
import type { Fault } from '../fault.ts';
import { BOOTX64, ENTRY, exactly, forArm, half, LOADER_CONF, text } from '../parts.ts';

const ESP_TYPE = 'C12A7328-F81F-11D2-BA4B-00A0C93EC93B';
const LINUX_TYPE = '0FC63DAF-8483-4772-8E79-3D69D8477DE4';

/** Faults of EFI boots: the ESP, systemd-boot and unified kernel images. */
export const EFI_FAULTS: readonly Fault[] = [
  {
    fault: 'ESP zeroed',
    ...{ base: 'hybrid', firmware: 'efi', stage: 'firmware', name: 'esp-unreadable', cause: /no FAT filesystem/ },
    breakIt: (image) => image.overwrite(image.esp.offsetBytes, Buffer.alloc(4 * MIB)),
  },
  {
    fault: 'ESP reformatted',
    ...{ base: 'systemd-boot', firmware: 'efi', stage: 'firmware', name: 'no-loader', cause: /BOOTX64\.EFI/ },
    breakIt: async (image) => {
      const { offsetBytes, sizeBytes } = image.esp;
      await image.overwrite(offsetBytes, Buffer.alloc(4 * MIB));
      await run(['mkfs.vfat', '-F', '16', '--offset', `${offsetBytes / 512}`, image.file, `${sizeBytes / 1024}`]);
    },
  },
  {
    fault: 'BOOTX64.EFI missing',
    ...{ base: 'hybrid', firmware: 'efi', stage: 'firmware', name: 'no-loader', cause: /BOOTX64\.EFI/ },
    breakIt: (image) => image.removeFromEsp(BOOTX64),
  },
  {
    fault: 'BOOTX64.EFI replaced by text',
    ...{ base: 'hybrid', firmware: 'efi', stage: 'firmware', name: 'loader-damaged', cause: /not an EFI program/ },
    breakIt: (image) => image.changeOnEsp(BOOTX64, () => 'text\n'.repeat(100)),
  },
  {
    fault: 'BOOTX64.EFI for another architecture',
    ...{ base: 'hybrid', firmware: 'efi', stage: 'firmware', name: 'loader-damaged', cause: /EFI program for aa64/ },
    breakIt: (image) => image.changeOnEsp(BOOTX64, forArm),
  },
  {
    fault: 'ESP has the type of a Linux partition',
    ...{
      base: 'hybrid',
      firmware: 'efi',
      stage: 'image',
      name: 'no-esp',
      cause: /no partition has the type of an EFI system partition/,
    },
    breakIt: (image) => image.sfdisk('--part-type', 'IMG', '1', LINUX_TYPE),
  },
  {
    fault: 'entries missing',
    ...{ base: 'systemd-boot', firmware: 'efi', stage: 'loader', name: 'no-entries', cause: /no entry/ },
    breakIt: async (image) => {
      for (const file of await image.espFiles()) if (ENTRY.test(file)) await image.removeFromEsp(exactly(file));
    },
  },
  {
    fault: 'kernel missing (systemd-boot)',
    ...{
      base: 'systemd-boot',
      firmware: 'efi',
      stage: 'loader',
      name: 'entry-file-missing',
      cause: /which is not on partition/,
    },
    breakIt: (image) => image.removeFromEsp(/nixos\/[^/]*(?:linux|bzimage|kernel)[^/]*\.efi$/i),
  },
  {
    fault: 'initrd missing (systemd-boot)',
    ...{
      base: 'systemd-boot',
      firmware: 'efi',
      stage: 'loader',
      name: 'entry-file-missing',
      cause: /which is not on partition/,
    },
    breakIt: (image) => image.removeFromEsp(/nixos\/[^/]*initrd[^/]*\.efi$/i),
  },
  {
    fault: 'kernel replaced by text (systemd-boot)',
    ...{ base: 'systemd-boot', firmware: 'efi', stage: 'loader', name: 'kernel-damaged', cause: /not a kernel/ },
    breakIt: (image) =>
      image.changeOnEsp(/nixos\/[^/]*(?:linux|bzimage|kernel)[^/]*\.efi$/i, () => 'text\n'.repeat(1000)),
  },
  {
    fault: 'initrd cut in half (systemd-boot)',
    ...{ base: 'systemd-boot', firmware: 'efi', stage: 'kernel', name: 'initrd-damaged', cause: /or truncated/ },
    breakIt: (image) => image.changeOnEsp(/nixos\/[^/]*initrd[^/]*\.efi$/i, half),
  },
  {
    fault: 'no serial console in the parameters (EFI)',
    ...{ base: 'systemd-boot', firmware: 'efi', stage: 'login', name: 'no-serial-console', cause: /console=ttyS0/ },
    breakIt: async (image) => {
      for (const file of await image.espFiles())
        if (ENTRY.test(file)) await image.changeOnEsp(exactly(file), withoutConsole);
      await loginOnScreen(image);
    },
  },
  {
    fault: 'systemd-boot’s menu waits forever',
    ...{ base: 'systemd-boot', firmware: 'efi', stage: 'loader', name: 'menu-waits', cause: /menu-force/ },
    breakIt: (image) =>
      image.changeOnEsp(
        LOADER_CONF,
        text((conf) => conf.replace('timeout 0', 'timeout menu-force')),
      ),
  },
  {
    fault: 'another ESP has the loader but no entries',
    ...{ base: 'systemd-boot', firmware: 'efi', stage: 'loader', name: 'no-entries', cause: /no entry/ },
    breakIt: async (image) => {
      const loader = await image.readFromEsp(BOOTX64);
      await image.removeFromEsp(BOOTX64);
      await image.removeFromEsp(/systemd-bootx64\.efi$/);
      const second = await image.addPartition(ESP_TYPE, 34 * MIB);
      await image.formatFat(second);
      await image.addToFat(second, 'EFI/BOOT/BOOTX64.EFI', loader);
    },
  },
  {
    fault: 'kernel for another architecture (systemd-boot)',
    ...{ base: 'systemd-boot', firmware: 'efi', stage: 'loader', name: 'kernel-wrong-architecture', cause: /aa64/ },
    breakIt: (image) => image.changeOnEsp(/nixos\/[^/]*(?:linux|bzimage|kernel)[^/]*\.efi$/i, forArm),
  },
];
