import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { run } from '../../../helpers/run.ts';
import type { Fault } from '../fault.ts';
import { text } from '../parts.ts';

const CONFIG = /syslinux\.cfg$/;
const KERNEL = /vmlinuz$/;

/** Faults of BIOS boots with SYSLINUX on the boot partition. */
export const SYSLINUX_FAULTS: readonly Fault[] = [
  {
    fault: 'no partition is marked active for SYSLINUX’s boot code',
    ...{
      base: 'syslinux',
      firmware: 'bios',
      stage: 'loader',
      name: 'syslinux-disk-error',
      cause: /Missing OS/,
    },
    breakIt: (image) => image.sfdisk('--part-attrs', 'IMG', '1', ''),
  },
  {
    fault: 'ldlinux.c32 missing',
    ...{ base: 'syslinux', firmware: 'bios', stage: 'loader', name: 'syslinux', cause: /ldlinux\.c32/ },
    breakIt: (image) => image.removeFromEsp(/ldlinux\.c32$/),
  },
  {
    fault: 'SYSLINUX missing from the boot sector of its partition',
    ...{
      base: 'syslinux',
      firmware: 'bios',
      stage: 'loader',
      name: 'no-bootable-device',
      cause: /not a bootable disk/,
    },
    breakIt: async (image) => {
      // mkfs.vfat's placeholder, which prints that there is nothing to boot.
      const fresh = join(dirname(image.file), 'fresh');
      await run(['mkfs.vfat', '-C', '-F', '16', fresh, '16384']);
      const bootSector = await readFile(fresh);
      await image.overwrite(image.esp.offsetBytes, bootSector.subarray(0, 3));
      await image.overwrite(image.esp.offsetBytes + 62, bootSector.subarray(62, 510));
    },
  },
  {
    fault: 'syslinux.cfg missing',
    ...{
      base: 'syslinux',
      firmware: 'bios',
      stage: 'loader',
      name: 'syslinux',
      cause: /No configuration file found/,
    },
    breakIt: (image) => image.removeFromEsp(CONFIG),
  },
  {
    fault: 'kernel missing (SYSLINUX)',
    ...{ base: 'syslinux', firmware: 'bios', stage: 'loader', name: 'syslinux', cause: /vmlinuz.*No such file/ },
    breakIt: (image) => image.removeFromEsp(KERNEL),
  },
  {
    fault: 'kernel replaced by text (SYSLINUX)',
    ...{ base: 'syslinux', firmware: 'bios', stage: 'loader', name: 'syslinux', cause: /Booting kernel failed/ },
    breakIt: (image) => image.changeOnEsp(KERNEL, () => 'this is not a kernel\n'.repeat(1000)),
  },
  {
    fault: 'SYSLINUX waits at its prompt',
    ...{ base: 'syslinux', firmware: 'bios', stage: 'loader', name: 'loader-menu', cause: /boot:/ },
    breakIt: (image) =>
      image.changeOnEsp(
        CONFIG,
        text((config) => config.replace('PROMPT 0', 'PROMPT 1')),
      ),
  },
];
