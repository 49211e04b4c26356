import { equalCheck } from '../harness/verify/checks.ts';
import { scenario } from './scenario.ts';

const mountedAs = (type: string) =>
  equalCheck('the root filesystem’s type', "grep ' / ' /proc/mounts | tail -n 1 | cut -d ' ' -f 3", type);

scenario('btrfs, GRUB, without a VM: the same image in both modes', {
  system: 'demo-grub-hybrid',
  image: { partitionTableType: 'hybrid', fsType: 'btrfs' },
  boots: ['bios', 'efi'],
  inside: [mountedAs('btrfs')],
  withoutVm: true,
});
scenario('btrfs on an MBR disk: GRUB reads the kernel and the initrd from it', {
  system: 'tiny-grub-bios',
  image: { partitionTableType: 'legacy', fsType: 'btrfs' },
  boots: ['bios'],
  withoutVm: true,
});
scenario('xfs, GRUB, without a VM: the same image in both modes', {
  system: 'demo-grub-hybrid',
  image: { partitionTableType: 'hybrid', fsType: 'xfs' },
  boots: ['bios', 'efi'],
  inside: [mountedAs('xfs')],
  withoutVm: true,
});
scenario('btrfs, with the builder VM', {
  system: 'tiny-grub-hybrid',
  image: { partitionTableType: 'hybrid', fsType: 'btrfs' },
  boots: ['efi'],
  inside: [mountedAs('btrfs')],
});
