import { randomBytes } from 'node:crypto';
import { rename, stat } from 'node:fs/promises';
import { run } from '../../../helpers/run.ts';
import type { Fault } from '../fault.ts';

/** The image's file, its partition table, and the root filesystem. */
export const DISK_FAULTS: readonly Fault[] = [
  {
    fault: 'backup GPT damaged',
    ...{ base: 'hybrid', firmware: 'legacy', stage: 'image', name: 'gpt-backup-damaged', cause: /backup GPT/ },
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
];
