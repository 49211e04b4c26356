import { PASSPHRASE, PLAIN, ROOT, testForeignBoots } from '../../helpers/foreign/foreign-boots.ts';

// Common Debian 12 setups: GRUB and SYSLINUX, initramfs-tools, systemd and its alternatives.

testForeignBoots([
  { name: 'debian-12', firmware: 'efi', login: ROOT, check: 'grep -q bookworm /etc/os-release' },
  { name: 'debian-12-live', firmware: 'efi', login: ROOT, check: 'grep -q "^overlay / " /proc/mounts' },
  {
    ...{ name: 'debian-12-luks', firmware: 'bios', login: ROOT, passphrase: PASSPHRASE },
    check: 'test -b /dev/mapper/cryptroot',
  },
  { name: 'debian-12-openrc', firmware: 'bios', login: ROOT, check: 'rc-status -s default > /dev/null' },
  { name: 'debian-12-quiet-german', firmware: 'bios', login: ROOT, check: 'grep -q "^[^ ]* / ext4 ro" /proc/mounts' },
  {
    ...{ name: 'debian-12-sysvinit', firmware: 'bios', login: PLAIN, staysOn: true },
    check: 'test "$(cat /proc/1/comm)" = init',
  },
  { name: 'debian-12-troubled', firmware: 'bios', login: ROOT, check: 'systemctl is-failed scanner.service' },
]);
