import { randomBytes } from 'node:crypto';
import { rename } from 'node:fs/promises';

import { MIB } from '../../../lib/units.ts';
import { run } from '../../helpers/run.ts';
import type { BrokenImage } from './broken-image.ts';
import type { Fault } from './fault.ts';
import { ACTIVATION, BOOTX64, ENTRY, GRUB_CFG, half, INITRD, KERNEL, text } from './parts.ts';

const LINUX_TYPE = '0FC63DAF-8483-4772-8E79-3D69D8477DE4';
const withoutConsole = text((content) => content.replaceAll(/ ?console=ttyS0\S*/g, ''));
/** A login only where there is a keyboard. */
async function loginOnScreen(image: BrokenImage): Promise<void> {
  const file = `${await image.linkOfSystem('etc')}/inittab`;
  const table = (await image.readFromRoot(file)).toString('utf8');
  await image.writeOnRoot(file, table.replace('-L ttyS0 115200 vt100', '38400 tty1'), '0100444');
}

export const FAULTS: readonly Fault[] = [
  // The BIOS and GRUB's boot sector.
  {
    fault: 'boot sector zeroed',
    ...{ base: 'legacy', firmware: 'legacy', stage: 'firmware', name: 'no-boot-signature', cause: /55 AA/ },
    breakIt: (image) => image.overwrite(0, Buffer.alloc(512)),
  },
  {
    fault: 'boot signature gone',
    ...{ base: 'legacy', firmware: 'legacy', stage: 'firmware', name: 'no-boot-signature', cause: /no boot sector/ },
    breakIt: (image) => image.overwrite(510, Buffer.alloc(2)),
  },
  {
    fault: 'boot code zeroed, table and signature kept',
    ...{ base: 'hybrid', firmware: 'legacy', stage: 'loader', name: 'no-boot-code', cause: /no boot code/ },
    breakIt: (image) => image.overwrite(0, Buffer.alloc(440)),
  },
  {
    fault: 'core image gone',
    ...{ base: 'legacy', firmware: 'legacy', stage: 'loader', name: 'no-core-image', cause: /no core image/ },
    breakIt: async (image) => {
      const { offsetBytes, sizeBytes } = await image.core();
      await image.overwrite(offsetBytes, Buffer.alloc(sizeBytes));
    },
  },
  {
    fault: 'core image cut in half',
    ...{ base: 'hybrid', firmware: 'legacy', stage: 'loader', name: 'core-image-cut', cause: /is cut off/ },
    breakIt: async (image) => {
      const { offsetBytes, sizeBytes } = await image.core();
      const kept = Math.floor(sizeBytes / 1024) * 512;
      await image.overwrite(offsetBytes + kept, Buffer.alloc(sizeBytes - kept));
    },
  },
  {
    fault: 'core image overwritten with noise behind its first sector',
    ...{ base: 'legacy', firmware: 'legacy', stage: 'loader', name: 'hang', cause: /hangs in a loop|does nothing/ },
    breakIt: async (image) => {
      const { offsetBytes, sizeBytes } = await image.core();
      // A loop that waits for nothing, where the decompressor should be.
      const noise = Buffer.concat([Buffer.from([0xeb, 0xfe]), randomBytes(sizeBytes - 514)]);
      await image.overwrite(offsetBytes + 512, noise);
    },
  },
  {
    fault: 'BIOS boot partition deleted from the table',
    ...{
      base: 'hybrid',
      firmware: 'legacy',
      stage: 'image',
      name: 'core-image-unprotected',
      cause: /no BIOS boot partition/,
    },
    breakIt: (image) => image.sfdisk('--delete', 'IMG', '2'),
  },
  {
    fault: 'grub.cfg missing',
    ...{ base: 'hybrid', firmware: 'legacy', stage: 'loader', name: 'grub-prompt', cause: /no grub\.cfg/ },
    breakIt: (image) => image.removeFromEsp(GRUB_CFG),
  },
  {
    fault: 'kernel missing',
    ...{ base: 'hybrid', firmware: 'legacy', stage: 'loader', name: 'grub-error', cause: /not found/ },
    breakIt: (image) => image.removeFromEsp(KERNEL),
  },
  {
    fault: 'kernel replaced by text',
    ...{
      base: 'hybrid',
      firmware: 'legacy',
      stage: 'loader',
      name: 'kernel-damaged',
      cause: /is no kernel/,
    },
    breakIt: (image) => image.changeOnEsp(KERNEL, () => 'this is no kernel\n'.repeat(1000)),
  },
  {
    fault: 'kernel cut in half',
    ...{
      base: 'hybrid',
      firmware: 'legacy',
      stage: 'loader',
      name: 'kernel-cut',
      cause: /the kernel is cut off/,
    },
    breakIt: (image) => image.changeOnEsp(KERNEL, half),
  },
  {
    fault: 'initrd missing',
    ...{ base: 'hybrid', firmware: 'legacy', stage: 'loader', name: 'grub-error', cause: /not found/ },
    breakIt: (image) => image.removeFromEsp(INITRD),
  },
  // The kernel and stage 1.
  {
    fault: 'initrd cut in half',
    ...{ base: 'hybrid', firmware: 'legacy', stage: 'kernel', name: 'initrd-damaged', cause: /damaged or cut off/ },
    breakIt: (image) => image.changeOnEsp(INITRD, half),
  },
  {
    fault: 'wrong UUID in the entry',
    ...{ base: 'hybrid', firmware: 'legacy', stage: 'stage 1', name: 'root-device-missing', cause: /UUID=11111111/ },
    breakIt: (image) =>
      image.changeOnEsp(
        GRUB_CFG,
        text((content) => content.replaceAll(/root=\S+/g, 'root=UUID=11111111-2222-3333-4444-555555555555')),
      ),
  },
  {
    fault: 'root label changed',
    ...{ base: 'legacy', firmware: 'legacy', stage: 'stage 1', name: 'root-device-missing', cause: /LABEL=nixos/ },
    breakIt: (image) => image.tune('-L', 'other'),
  },
  {
    fault: 'superblock zeroed',
    ...{ base: 'hybrid', firmware: 'legacy', stage: 'stage 1', name: 'root-device-missing', cause: /LABEL=nixos/ },
    breakIt: (image) => image.overwrite(image.disk.root.offsetBytes + 1024, Buffer.alloc(1024)),
  },
  {
    fault: 'superblock damaged',
    ...{ base: 'hybrid', firmware: 'legacy', stage: 'stage 1', name: 'superblock-damaged', cause: /checksum is wrong/ },
    breakIt: (image) => image.overwrite(image.disk.root.offsetBytes + 1024 + 0x2c, randomBytes(4)),
  },
  {
    fault: 'init missing',
    ...{
      base: 'hybrid',
      firmware: 'legacy',
      stage: 'stage 1',
      name: 'init-not-found',
      cause: /not on the root filesystem/,
    },
    breakIt: async (image) => {
      await image.debugfs(`rm ${image.system('init')}`);
    },
  },
  {
    fault: 'init is not executable text',
    ...{
      base: 'hybrid',
      firmware: 'legacy',
      stage: 'stage 1',
      name: 'kernel-panic-init-died',
      cause: /process 1 ended/,
    },
    breakIt: (image) => image.writeOnRoot(image.system('init'), 'not a program\n', '0100644'),
  },
  {
    fault: 'image cut to 90 %',
    ...{ base: 'hybrid', firmware: 'legacy', stage: 'stage 1', name: 'image-truncated', cause: /cut off/ },
    breakIt: (image) => image.cutTo(0.9),
  },
  // Stage 2, init and login.
  {
    fault: 'activation fails',
    ...{
      base: 'hybrid',
      firmware: 'legacy',
      stage: 'stage 2',
      name: 'activation-failed',
      cause: /snippet 'users' failed/,
    },
    breakIt: (image) =>
      image.changeSystem('activate', (script) =>
        script.replace('\n', '\nprintf "Activation script snippet \'%s\' failed (%s)\\n" users 1\n'),
      ),
  },
  {
    fault: 'stage 2 ends',
    ...{
      base: 'hybrid',
      firmware: 'legacy',
      stage: 'stage 2',
      name: 'kernel-panic-init-died',
      cause: /Attempted to kill init/,
    },
    breakIt: (image) =>
      image.changeSystem('init', (script) => script.replace('running activation script', 'leaving"; exit 3; echo "')),
  },
  {
    fault: 'init loops without a word',
    ...{ base: 'hybrid', firmware: 'legacy', stage: 'stage 2', name: 'hang', cause: /hangs in a loop/ },
    breakIt: (image) => image.changeSystem('init', (script) => script.replace(ACTIVATION, 'while :; do :; done')),
  },
  {
    fault: 'init restarts the machine',
    ...{ base: 'hybrid', firmware: 'legacy', stage: 'stage 2', name: 'machine-reset', cause: /restarted itself/ },
    breakIt: (image) => image.changeSystem('init', (script) => script.replace(ACTIVATION, 'reboot -f')),
  },
  {
    fault: 'full disk',
    ...{ base: 'hybrid', firmware: 'legacy', stage: 'stage 1', name: 'filesystem-full', cause: /free bytes/ },
    breakIt: async (image) => {
      const free = Number(/Free blocks: +(\d+)/.exec(await image.debugfs('stats'))?.[1]);
      await image.debugfs('write /dev/null filler', `fallocate filler 0 ${free - 40}`);
    },
  },
  {
    fault: 'filesystem marked as having errors',
    ...{ base: 'hybrid', firmware: 'legacy', stage: 'image', name: 'filesystem-errors', cause: /having errors/ },
    breakIt: async (image) => {
      await image.debugfs('set_super_value state 2');
    },
  },
  {
    fault: 'no serial console in the parameters (BIOS)',
    ...{
      base: 'hybrid',
      firmware: 'legacy',
      stage: 'login',
      name: 'no-serial-console',
      cause: /screen shows a login prompt|screen shows that it came to/,
    },
    breakIt: async (image) => {
      await image.changeOnEsp(GRUB_CFG, withoutConsole);
      await loginOnScreen(image);
    },
  },
  {
    fault: 'the login asks for a password',
    ...{ base: 'hybrid', firmware: 'legacy', stage: 'login', name: 'login-refused', cause: /refused|password/ },
    machine: { login: { user: 'nobody-of-that-name' } },
    breakIt: async () => {},
  },
  {
    fault: 'too little memory',
    ...{
      base: 'hybrid',
      firmware: 'legacy',
      stage: 'loader',
      name: 'grub-error',
      cause: /out of memory/,
    },
    machine: { memoryMiB: 80 },
    breakIt: async () => {},
  },
  // The partition table.
  {
    fault: 'backup GPT damaged',
    ...{ base: 'hybrid', firmware: 'legacy', stage: 'image', name: 'gpt-backup-damaged', cause: /backup GPT/ },
    breakIt: async (image) => {
      const { size } = await import('node:fs/promises').then((fs) => fs.stat(image.file));
      await image.overwrite(size - 512, Buffer.alloc(512));
    },
  },
  {
    fault: 'primary GPT damaged',
    ...{ base: 'hybrid', firmware: 'efi', stage: 'image', name: 'gpt-primary-damaged', cause: /GPT in sector 1/ },
    breakIt: (image) => image.overwrite(512 + 16, randomBytes(4)),
  },
  {
    fault: 'both GPTs damaged',
    ...{ base: 'systemd-boot', firmware: 'efi', stage: 'firmware', name: 'gpt-damaged', cause: /GPT in sector 1/ },
    breakIt: async (image) => {
      const { size } = await import('node:fs/promises').then((fs) => fs.stat(image.file));
      await image.overwrite(512, Buffer.alloc(512));
      await image.overwrite(size - 512, Buffer.alloc(512));
    },
  },
  {
    fault: 'qcow2 damaged',
    ...{ base: 'hybrid', firmware: 'legacy', stage: 'firmware', name: 'container-damaged', cause: /qcow2 is damaged/ },
    breakIt: async (image) => {
      const qcow2 = `${image.file}.qcow2`;
      await run(['qemu-img', 'convert', '-O', 'qcow2', image.file, qcow2]);
      await rename(qcow2, image.file);
      // Where the clusters of the guest's data are told.
      const header = await image.read(0, 104);
      await image.overwrite(Number(header.readBigUInt64BE(40)), randomBytes(4096));
    },
  },
  // EFI firmware, the ESP and systemd-boot.
  {
    fault: 'ESP zeroed',
    ...{ base: 'hybrid', firmware: 'efi', stage: 'firmware', name: 'esp-unreadable', cause: /no FAT filesystem/ },
    breakIt: (image) => image.overwrite(image.esp.offsetBytes, Buffer.alloc(4 * MIB)),
  },
  {
    fault: 'ESP formatted anew',
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
    ...{ base: 'hybrid', firmware: 'efi', stage: 'firmware', name: 'loader-damaged', cause: /no EFI program/ },
    breakIt: (image) => image.changeOnEsp(BOOTX64, () => 'text\n'.repeat(100)),
  },
  {
    fault: 'BOOTX64.EFI for another architecture',
    ...{ base: 'hybrid', firmware: 'efi', stage: 'firmware', name: 'loader-damaged', cause: /EFI program for aa64/ },
    breakIt: (image) =>
      image.changeOnEsp(BOOTX64, (content) => {
        content.writeUInt16LE(0xaa64, content.readUInt32LE(0x3c) + 4);
        return content;
      }),
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
      for (const file of await image.espFiles())
        if (ENTRY.test(file)) await image.removeFromEsp(new RegExp(`^${file.replaceAll('.', '\\.')}$`));
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
    ...{ base: 'systemd-boot', firmware: 'efi', stage: 'loader', name: 'kernel-damaged', cause: /no kernel/ },
    breakIt: (image) =>
      image.changeOnEsp(/nixos\/[^/]*(?:linux|bzimage|kernel)[^/]*\.efi$/i, () => 'text\n'.repeat(1000)),
  },
  {
    fault: 'initrd cut in half (systemd-boot)',
    ...{ base: 'systemd-boot', firmware: 'efi', stage: 'kernel', name: 'initrd-damaged', cause: /damaged or cut off/ },
    breakIt: (image) => image.changeOnEsp(/nixos\/[^/]*initrd[^/]*\.efi$/i, half),
  },
  {
    fault: 'no serial console in the parameters (EFI)',
    ...{ base: 'systemd-boot', firmware: 'efi', stage: 'login', name: 'no-serial-console', cause: /console=ttyS0/ },
    breakIt: async (image) => {
      for (const file of await image.espFiles())
        if (ENTRY.test(file)) await image.changeOnEsp(new RegExp(`^${file.replaceAll('.', '\\.')}$`), withoutConsole);
      await loginOnScreen(image);
    },
  },
];
