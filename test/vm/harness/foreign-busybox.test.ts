import { ROOT, testForeignBoots } from '../../helpers/foreign/foreign-boots.ts';

// Systems of busybox alone: no systemd, no bash, and an init that does not say that it starts.

testForeignBoots([
  { name: 'busybox-grub', firmware: 'legacy', login: ROOT, check: 'test ! -e /sys/firmware/efi' },
  { name: 'busybox-grub', firmware: 'efi', login: ROOT, check: 'test -d /sys/firmware/efi' },
  { name: 'busybox-syslinux', firmware: 'legacy', login: ROOT, check: 'grep -q askfirst /etc/inittab' },
]);
