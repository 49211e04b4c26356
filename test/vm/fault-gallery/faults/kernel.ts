import { randomBytes } from 'node:crypto';
import type { Fault } from '../fault.ts';
import { GRUB_CFG, half, INITRD, text } from '../parts.ts';

/** The kernel and stage 1. */
export const KERNEL_FAULTS: readonly Fault[] = [
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
];
