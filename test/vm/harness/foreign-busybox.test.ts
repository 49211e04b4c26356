import { ROOT, testForeignBoots } from '../../helpers/foreign/foreign-boots.ts';

// Systems of busybox alone, one for each way to start a kernel: no systemd, no bash, and an init that does not say that it starts.

testForeignBoots([
  { name: 'busybox-grub', firmware: 'legacy', login: ROOT, check: 'test ! -e /sys/firmware/efi' },
  { name: 'busybox-grub', firmware: 'efi', login: ROOT, check: 'test -d /sys/firmware/efi' },
  { name: 'busybox-grub-menu', firmware: 'legacy', login: ROOT, check: 'grep -q " quiet " /proc/cmdline' },
  { name: 'busybox-systemd-boot', firmware: 'efi', login: ROOT, check: 'test ! -e /boot/vmlinuz' },
  {
    name: 'busybox-uki',
    firmware: 'efi',
    login: ROOT,
    check: 'test "$(cat /proc/cmdline)" = "console=tty0 console=ttyS0"',
  },
  { name: 'busybox-uki-systemd-boot', firmware: 'efi', login: ROOT, check: 'grep -q ^quiet /proc/cmdline' },
  { name: 'busybox-syslinux', firmware: 'legacy', login: ROOT, check: 'grep -q askfirst /etc/inittab' },
]);
