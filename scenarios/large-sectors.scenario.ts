import { equalCheck } from '../harness/verify/checks.ts';
import { scenario } from './scenario.ts';

const largeSectors = equalCheck(
  'the size of the disk’s sectors',
  'cat /sys/class/block/vda/queue/logical_block_size',
  '4096',
);
const image = { partitionTableType: 'efi', sectorSize: 4096, touchEFIVars: true } as const;

scenario('sectors of 4096 bytes, with the builder VM', {
  system: 'demo-systemd-boot',
  image,
  boots: ['efi'],
  inside: [largeSectors],
});

scenario('sectors of 4096 bytes, GRUB and xfs, without a VM', {
  system: 'demo-grub-hybrid',
  image: { ...image, fsType: 'xfs', bootLoader: 'grub' },
  boots: ['efi'],
  inside: [largeSectors],
  withoutVm: true,
});
