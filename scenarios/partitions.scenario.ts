import { equalCheck } from '../harness/verify/checks.ts';
import { scenario } from './scenario.ts';

// Partitions instead of one of make-disk-image's layouts.

const boot = { type: 'esp', size: '140M', mountPoint: '/boot' } as const;
const filesystemAt = (mountPoint: string, expected: string) =>
  equalCheck(`what is mounted at ${mountPoint}`, `grep " ${mountPoint} " /proc/mounts | cut -d' ' -f1,3`, expected);

/** As the demo system's fstab mounts them. */
const partitions = [
  boot,
  { type: 'swap', size: '32M' },
  { type: 'home', mountPoint: '/home', filesystem: 'xfs', label: 'home' },
  { mountPoint: '/nix', filesystem: 'btrfs', label: 'nix' },
  { type: 'root-x86-64', mountPoint: '/' },
] as const;
const inside = [
  filesystemAt('/', '/dev/vda5 ext4'),
  filesystemAt('/home', '/dev/vda3 xfs'),
  filesystemAt('/nix', '/dev/vda4 btrfs'),
  filesystemAt('/boot', '/dev/vda1 vfat'),
  equalCheck('swap', 'tail -n +2 /proc/swaps | cut -d" " -f1', '/dev/vda2'),
];

for (const withoutVm of [true, false])
  scenario(`swap, /home on xfs and /nix on btrfs, ${withoutVm ? 'without a VM' : 'with the builder VM'}`, {
    system: 'tiny-systemd-boot-partitions',
    image: { partitions: [...partitions] },
    boots: ['efi'],
    inside,
    withoutVm,
  });

scenario('GRUB for BIOS and EFI, with a root on btrfs before other partitions', {
  system: 'tiny-grub-hybrid',
  image: {
    partitions: [
      { type: 'bios-boot' },
      { mountPoint: '/', filesystem: 'btrfs', size: '300M' },
      { mountPoint: '/srv', label: 'srv' },
      boot,
    ],
    reproducible: false,
  },
  boots: ['bios', 'efi'],
  inside: [equalCheck('the root', "df / | tail -n 1 | cut -d' ' -f1", '/dev/vda2')],
  withoutVm: true,
});
