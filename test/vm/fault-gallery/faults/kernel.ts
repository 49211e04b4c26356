import { randomBytes } from 'node:crypto';
import { commandCheck } from '../../../../harness/verify/checks.ts';
import { anotherInit, changeEtc, changeParameters, inStage2 } from '../changes.ts';
import type { Fault } from '../fault.ts';
import { GRUB_CFG, half, INITRD, text } from '../parts.ts';

/** Faults in the kernel and stage 1. */
export const KERNEL_FAULTS: readonly Fault[] = [
  {
    fault: 'initrd cut in half',
    ...{ base: 'hybrid', firmware: 'bios', stage: 'kernel', name: 'initrd-damaged', cause: /damaged or truncated/ },
    breakIt: (image) => image.changeOnEsp(INITRD, half),
  },
  {
    fault: 'wrong UUID in the entry',
    ...{ base: 'hybrid', firmware: 'bios', stage: 'stage 1', name: 'root-device-missing', cause: /UUID=11111111/ },
    breakIt: (image) =>
      image.changeOnEsp(
        GRUB_CFG,
        text((content) => content.replaceAll(/root=\S+/g, 'root=UUID=11111111-2222-3333-4444-555555555555')),
      ),
  },
  {
    fault: 'root label changed',
    ...{ base: 'legacy', firmware: 'bios', stage: 'stage 1', name: 'root-device-missing', cause: /LABEL=nixos/ },
    breakIt: (image) => image.tune('-L', 'other'),
  },
  {
    fault: 'superblock zeroed',
    ...{ base: 'hybrid', firmware: 'bios', stage: 'stage 1', name: 'root-device-missing', cause: /LABEL=nixos/ },
    breakIt: (image) => image.overwrite(image.disk.root.offsetBytes + 1024, Buffer.alloc(1024)),
  },
  {
    fault: 'superblock damaged',
    ...{ base: 'hybrid', firmware: 'bios', stage: 'stage 1', name: 'superblock-damaged', cause: /checksum is wrong/ },
    breakIt: (image) => image.overwrite(image.disk.root.offsetBytes + 1024 + 0x2c, randomBytes(4)),
  },
  {
    fault: 'init missing',
    ...{
      base: 'hybrid',
      firmware: 'bios',
      stage: 'stage 1',
      name: 'init-not-found',
      cause: /not on the root filesystem/,
    },
    breakIt: async (image) => {
      await image.debugfs(`rm ${image.system('init')}`);
    },
  },
  {
    fault: 'init is text and not executable',
    ...{
      base: 'hybrid',
      firmware: 'bios',
      stage: 'stage 1',
      name: 'kernel-panic-init-died',
      cause: /process 1 \(init\) exited/,
    },
    breakIt: (image) => image.writeOnRoot(image.system('init'), 'not a program\n', '0100644'),
  },
  {
    fault: 'image truncated to 90 %',
    ...{ base: 'hybrid', firmware: 'bios', stage: 'stage 1', name: 'image-truncated', cause: /cut off/ },
    breakIt: (image) => image.cutTo(0.9),
  },
  {
    fault: 'wrong init= in the entry',
    ...{ base: 'hybrid', firmware: 'bios', stage: 'stage 1', name: 'init-not-found', cause: /-of-another-day\/init/ },
    breakIt: (image) =>
      changeParameters(image, (given) => given.replace(/init=\S+/, 'init=/nix/store/system-of-another-day/init')),
  },
  {
    fault: 'wrong root filesystem type in the entry',
    slow: true,
    ...{
      base: 'hybrid',
      firmware: 'bios',
      stage: 'stage 1',
      name: 'stage-1-failed',
      cause: /cannot mount|could not mount/,
    },
    breakIt: (image) => changeParameters(image, (given) => `${given} rootfstype=xfs`),
  },
  {
    fault: 'no module for the disk controller',
    ...{ base: 'hybrid', firmware: 'bios', stage: 'stage 1', name: 'root-device-missing', cause: /LABEL=nixos/ },
    machine: { diskInterface: 'ahci' },
    breakIt: async () => {},
  },
  {
    fault: 'initrd’s init is not a program',
    slow: true,
    ...{
      base: 'hybrid',
      firmware: 'bios',
      stage: 'stage 1',
      name: 'kernel-panic-no-init',
      cause: /no init that it could start/,
    },
    breakIt: (image) => anotherInit(image, 'not a program\n'),
  },
  {
    fault: 'too little memory for a program of stage 2',
    ...{ base: 'hybrid', firmware: 'bios', stage: 'stage 2', name: 'out-of-memory', cause: /Killed process/ },
    machine: { memoryMiB: 160 },
    breakIt: (image) => inStage2(image, 'tail /dev/zero'),
  },
  {
    fault: 'kernel panics after the login',
    ...{ base: 'hybrid', firmware: 'bios', stage: 'login', name: 'kernel-panic', cause: /sysrq triggered crash/ },
    machine: { checks: [commandCheck('while :; do sleep 1; done')] },
    breakIt: (image) =>
      changeEtc(image, 'profile', (profile) => `${profile}(sleep 2; echo c > /proc/sysrq-trigger) &\n`),
  },
];
