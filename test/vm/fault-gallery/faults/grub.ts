import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { run } from '../../../helpers/run.ts';
import type { BrokenImage } from '../broken-image.ts';
import type { Fault } from '../fault.ts';
import { GRUB_CFG, half, INITRD, KERNEL, text } from '../parts.ts';

const ENCRYPTED_MODULES = [
  'biosdisk',
  'part_gpt',
  'ext2',
  'normal',
  'serial',
  'terminal',
  'cryptodisk',
  'luks2',
  'pbkdf2',
  'gcry_rijndael',
  'gcry_sha256',
];

/** Faults of BIOS boots with GRUB. */
export const GRUB_FAULTS: readonly Fault[] = [
  {
    fault: 'boot sector zeroed',
    ...{ base: 'legacy', firmware: 'bios', stage: 'firmware', name: 'no-boot-signature', cause: /55 AA/ },
    breakIt: (image) => image.overwrite(0, Buffer.alloc(512)),
  },
  {
    fault: 'boot signature missing',
    ...{ base: 'legacy', firmware: 'bios', stage: 'firmware', name: 'no-boot-signature', cause: /not a boot sector/ },
    breakIt: (image) => image.overwrite(510, Buffer.alloc(2)),
  },
  {
    fault: 'boot code zeroed, table and signature kept',
    ...{ base: 'hybrid', firmware: 'bios', stage: 'loader', name: 'no-boot-code', cause: /no boot code/ },
    breakIt: (image) => image.overwrite(0, Buffer.alloc(440)),
  },
  {
    fault: 'core image missing',
    ...{ base: 'legacy', firmware: 'bios', stage: 'loader', name: 'no-core-image', cause: /no core image/ },
    breakIt: async (image) => {
      const { offsetBytes, sizeBytes } = await image.core();
      await image.overwrite(offsetBytes, Buffer.alloc(sizeBytes));
    },
  },
  {
    fault: 'core image cut in half',
    ...{ base: 'hybrid', firmware: 'bios', stage: 'loader', name: 'core-image-cut', cause: /is cut off/ },
    breakIt: async (image) => {
      const { offsetBytes, sizeBytes } = await image.core();
      const kept = Math.floor(sizeBytes / 1024) * 512;
      await image.overwrite(offsetBytes + kept, Buffer.alloc(sizeBytes - kept));
    },
  },
  {
    fault: 'core image overwritten with noise after its first sector',
    ...{ base: 'legacy', firmware: 'bios', stage: 'loader', name: 'hang', cause: /hangs in a loop|CPU is idle/ },
    breakIt: async (image) => {
      const { offsetBytes, sizeBytes } = await image.core();
      // A busy loop in place of the decompressor.
      const noise = Buffer.concat([Buffer.from([0xeb, 0xfe]), randomBytes(sizeBytes - 514)]);
      await image.overwrite(offsetBytes + 512, noise);
    },
  },
  {
    fault: 'BIOS boot partition deleted from the table',
    ...{
      base: 'hybrid',
      firmware: 'bios',
      stage: 'image',
      name: 'core-image-unprotected',
      cause: /not in a BIOS boot partition/,
    },
    breakIt: (image) => image.sfdisk('--delete', 'IMG', '2'),
  },
  {
    fault: 'grub.cfg missing',
    ...{ base: 'hybrid', firmware: 'bios', stage: 'loader', name: 'grub-prompt', cause: /no usable grub\.cfg/ },
    breakIt: (image) => image.removeFromEsp(GRUB_CFG),
  },
  {
    fault: 'kernel missing',
    ...{ base: 'hybrid', firmware: 'bios', stage: 'loader', name: 'grub-error', cause: /not found/ },
    breakIt: (image) => image.removeFromEsp(KERNEL),
  },
  {
    fault: 'kernel replaced by text',
    ...{
      base: 'hybrid',
      firmware: 'bios',
      stage: 'loader',
      name: 'kernel-damaged',
      cause: /is not a kernel/,
    },
    breakIt: (image) => image.changeOnEsp(KERNEL, () => 'this is not a kernel\n'.repeat(1000)),
  },
  {
    fault: 'kernel cut in half',
    ...{
      base: 'hybrid',
      firmware: 'bios',
      stage: 'loader',
      name: 'kernel-cut',
      cause: /the kernel is cut off/,
    },
    breakIt: (image) => image.changeOnEsp(KERNEL, half),
  },
  {
    fault: 'initrd missing',
    ...{ base: 'hybrid', firmware: 'bios', stage: 'loader', name: 'grub-error', cause: /not found/ },
    breakIt: (image) => image.removeFromEsp(INITRD),
  },
  {
    fault: 'syntax error in grub.cfg',
    ...{ base: 'hybrid', firmware: 'bios', stage: 'loader', name: 'grub-prompt', cause: /syntax error/ },
    breakIt: (image) =>
      image.changeOnEsp(
        GRUB_CFG,
        text((menu) => menu.replaceAll('{\n', '{\n  if [ 1 = 1 ] then\n')),
      ),
  },
  {
    fault: 'GRUB’s menu waits forever',
    ...{ base: 'hybrid', firmware: 'bios', stage: 'loader', name: 'menu-waits', cause: /the menu waits/ },
    breakIt: (image) =>
      image.changeOnEsp(
        GRUB_CFG,
        text((menu) => menu.replace('timeout=0', 'timeout=-1')),
      ),
  },
  {
    fault: 'GRUB asks for a user name',
    ...{ base: 'hybrid', firmware: 'bios', stage: 'loader', name: 'loader-asks', cause: /Enter username/ },
    breakIt: (image) =>
      image.changeOnEsp(
        GRUB_CFG,
        text((menu) => `set superusers="root"\n${menu.replaceAll(' --unrestricted', '')}`),
      ),
  },
  {
    fault: 'GRUB asks for the root’s passphrase',
    ...{
      base: 'luks',
      firmware: 'bios',
      stage: 'loader',
      name: 'asks-for-passphrase',
      cause: /Enter passphrase for hd0,gpt3/,
    },
    breakIt: (image) => embedCore(image, 'cryptomount hd0,gpt3\nset prefix=(crypto0)/boot/grub\n', ENCRYPTED_MODULES),
  },
];

/** Replaces the core image with one with other modules. Runs: grub-mkimage. */
async function embedCore(image: BrokenImage, early: string, modules: readonly string[]): Promise<void> {
  const directory = dirname(image.file);
  const [script, output] = [join(directory, 'early.cfg'), join(directory, 'core.img')];
  await writeFile(
    script,
    `serial --unit=0 --speed=115200\nterminal_input serial console\nterminal_output serial console\n${early}`,
  );
  await run(['grub-mkimage', '-O', 'i386-pc', '-o', output, '-p', '(crypto0)/boot/grub', '-c', script, ...modules]);
  const core = await readFile(output);
  const { offsetBytes } = await image.core();
  // Where the first sector finds the others. @see GRUB grub-core/boot/i386/pc/diskboot.S
  core.writeBigUInt64LE(BigInt(offsetBytes / 512 + 1), 0x1f4);
  core.writeUInt16LE(Math.ceil(core.length / 512) - 1, 0x1fc);
  core.writeUInt16LE(0x820, 0x1fe);
  await image.overwrite(offsetBytes, core);
}
