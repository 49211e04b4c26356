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

for (const withoutVm of [true, false])
  scenario(`a store that is only read: erofs, and a squashfs, ${withoutVm ? 'without a VM' : 'with the builder VM'}`, {
    system: 'tiny-systemd-boot-packed',
    image: {
      partitions: [
        boot,
        { mountPoint: '/', size: '128M' },
        { mountPoint: '/nix/store', filesystem: 'erofs', label: 'store' },
        { mountPoint: '/srv', filesystem: 'squashfs', compression: 'gzip', name: 'srv' },
      ],
      reproducible: withoutVm,
    },
    boots: ['efi'],
    inside: [
      filesystemAt('/nix/store', '/dev/vda3 erofs'),
      filesystemAt('/srv', '/dev/vda4 squashfs'),
      equalCheck(
        'whether the store can be written to',
        'touch /nix/store/x 2>&1 | grep -c "Read-only file system"',
        '1',
      ),
    ],
    withoutVm,
  });

scenario('a root in memory, /nix on ext4 and files that stay on a btrfs', {
  system: 'tiny-systemd-boot-tmpfs',
  image: {
    partitions: [
      boot,
      { mountPoint: '/nix', label: 'nix' },
      { mountPoint: '/persist', filesystem: 'btrfs', label: 'persist' },
    ],
    contents: [{ source: '/etc/os-release', target: '/persist/etc/kept', mode: '600', user: '7', group: '8' }],
  },
  boots: ['efi'],
  inside: [
    filesystemAt('/', 'tmpfs tmpfs'),
    filesystemAt('/nix', '/dev/vda2 ext4'),
    filesystemAt('/persist', '/dev/vda3 btrfs'),
    equalCheck('a file that stays', "stat -c '%a %u:%g' /persist/etc/kept", '600 7:8'),
  ],
  withoutVm: true,
});

scenario('a root in memory, and a store that is only read', {
  system: 'tiny-systemd-boot-tmpfs-packed',
  image: { partitions: [boot, { mountPoint: '/nix/store', filesystem: 'erofs', label: 'store' }], reproducible: true },
  boots: ['efi'],
  inside: [filesystemAt('/', 'tmpfs tmpfs'), filesystemAt('/nix/store', '/dev/vda2 erofs')],
  withoutVm: true,
});
