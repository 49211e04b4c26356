import { PASSPHRASE, ROOT, testForeignBoots, WHEEL } from '../../helpers/foreign/foreign-boots.ts';

// Common Debian 13 setups: systemd-boot and unified kernel images, dracut.

testForeignBoots([
  {
    ...{ name: 'debian-13-luks-japanese', firmware: 'efi', login: ROOT, passphrase: PASSPHRASE },
    check: 'test -b /dev/mapper/root',
  },
  { name: 'debian-13-systemd-boot', firmware: 'efi', login: ROOT, check: 'grep -q trixie /etc/os-release' },
  { name: 'debian-13-uki', firmware: 'efi', login: WHEEL, check: 'test "$(id -un)" = wheel' },
  { name: 'debian-13-uki-btrfs', firmware: 'efi', login: ROOT, check: 'grep -q " / btrfs .*subvol=/@" /proc/mounts' },
]);
