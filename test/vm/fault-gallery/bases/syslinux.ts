import { readFile } from 'node:fs/promises';
import { run } from '../../../helpers/run.ts';
import { GRUB_CFG, INITRD, KERNEL } from '../parts.ts';
import type { Derive } from './base.ts';

const GPT_BOOT_CODE = '/usr/lib/syslinux/mbr/gptmbr.bin';

/** SYSLINUX instead of GRUB: its boot code in the MBR, the loader on the boot partition. Runs: sfdisk, syslinux. */
export const useSyslinux: Derive = async (image) => {
  const grub = (await image.readFromEsp(GRUB_CFG)).toString('utf8');
  const parameters = /^ *linux \S+ (.*)$/m.exec(grub)?.[1] ?? '';
  const kernel = await image.readFromEsp(KERNEL);
  const initrd = await image.readFromEsp(INITRD);
  const core = await image.core();
  await image.overwrite(core.offsetBytes, Buffer.alloc(core.sizeBytes));
  const bootCode = await readFile(GPT_BOOT_CODE);
  await image.overwrite(0, Buffer.concat([bootCode, Buffer.alloc(440 - bootCode.length)]));
  await image.sfdisk('--part-attrs', 'IMG', `${image.esp.number}`, 'LegacyBIOSBootable');
  await image.makeBootFilesystem();
  await image.addToEsp('vmlinuz', kernel);
  await image.addToEsp('initrd.img', initrd);
  await image.addToEsp(
    'syslinux/syslinux.cfg',
    [
      ...['SERIAL 0 115200', 'DEFAULT nixos', 'PROMPT 0', 'LABEL nixos'],
      ...['  LINUX /vmlinuz', '  INITRD /initrd.img', `  APPEND ${parameters}`, ''],
    ].join('\n'),
  );
  await run(['syslinux', '--offset', `${image.esp.offsetBytes}`, '--directory', 'syslinux', '--install', image.file]);
  return undefined;
};
