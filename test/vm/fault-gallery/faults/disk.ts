import { randomBytes } from 'node:crypto';
import { rename, stat } from 'node:fs/promises';
import { run } from '../../../helpers/run.ts';
import { beforeInit, changeEtc } from '../changes.ts';
import type { Fault } from '../fault.ts';

const BLOCK_BYTES = 4096;

/** Faults in the image file, its partition table and the root filesystem. */
export const DISK_FAULTS: readonly Fault[] = [
  {
    fault: 'backup GPT damaged',
    ...{ base: 'hybrid', firmware: 'bios', stage: 'image', name: 'gpt-backup-damaged', cause: /backup GPT/ },
    breakIt: async (image) => {
      const { size } = await stat(image.file);
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
      const { size } = await stat(image.file);
      await image.overwrite(512, Buffer.alloc(512));
      await image.overwrite(size - 512, Buffer.alloc(512));
    },
  },
  {
    fault: 'qcow2 damaged',
    ...{ base: 'hybrid', firmware: 'bios', stage: 'firmware', name: 'container-damaged', cause: /qcow2 is damaged/ },
    breakIt: async (image) => {
      const qcow2 = `${image.file}.qcow2`;
      await run(['qemu-img', 'convert', '-O', 'qcow2', image.file, qcow2]);
      await rename(qcow2, image.file);
      // The table of the clusters with the guest's data.
      const header = await image.read(0, 104);
      await image.overwrite(Number(header.readBigUInt64BE(40)), randomBytes(4096));
    },
  },
  {
    fault: 'group descriptors zeroed',
    ...{
      base: 'hybrid',
      firmware: 'bios',
      stage: 'stage 1',
      name: 'filesystem-unreadable',
      cause:
        /no root directory at the position in its group descriptors; seen during the boot: .*(?:group descriptors corrupted|Checksum for group)/s,
    },
    breakIt: (image) => image.overwrite(image.disk.root.offsetBytes + BLOCK_BYTES, Buffer.alloc(BLOCK_BYTES)),
  },
  {
    fault: 'journal’s superblock zeroed',
    ...{
      base: 'hybrid',
      firmware: 'bios',
      stage: 'stage 1',
      name: 'stage-1-failed',
      cause: /could not mount/,
    },
    breakIt: async (image) => {
      const block = Number(/^(\d+)/m.exec((await image.debugfs('bmap <8> 0')).replace(/^debugfs:.*\n/gm, ''))?.[1]);
      await image.overwrite(image.disk.root.offsetBytes + block * BLOCK_BYTES, Buffer.alloc(BLOCK_BYTES));
    },
  },
  {
    fault: 'root mounted read-only, although fstab says read-write',
    ...{ base: 'hybrid', firmware: 'bios', stage: 'init', name: 'read-only-root', cause: /mounted read-only/ },
    breakIt: async (image) => {
      await beforeInit(image, 'mount -o remount,ro /');
      await changeEtc(image, 'fstab', () => 'LABEL=nixos / ext4 defaults 0 1\n');
    },
  },
  {
    fault: 'stage 2 fills the root',
    ...{ base: 'hybrid', firmware: 'bios', stage: 'init', name: 'root-full', cause: /no free space/ },
    breakIt: (image) => beforeInit(image, 'dd if=/dev/zero of=/filler bs=1M; sync'),
  },
];
