/** Cases whose verdict was seen to be the true one on the engine as it is. The others are run where ALL_VERDICTS is set: each comes
 *  here when its verdict has been seen. */
export const HELD: ReadonlySet<string> = new Set([
  'GRUB on two terminals, and a syntax error',
  'GRUB on two terminals, and nothing to start',
  'GRUB tries the same again and again',
  "NixOS's systemd in the initrd does not find the root",
  "SYSLINUX's words",
  "a disk's passphrase is asked for: NixOS's scripted initrd",
  "a disk's passphrase is asked for: ZFS",
  "a disk's passphrase is asked for: a TPM with a PIN",
  "a disk's passphrase is asked for: mkinitcpio, with cryptsetup's own question",
  "a disk's passphrase is asked for: systemd, without a glyph",
  "a disk's passphrase is given: NixOS's scripted initrd",
  "a disk's passphrase is given: initramfs-tools",
  "a disk's passphrase is given: systemd, with a glyph",
  'an error of the root filesystem',
  'an error of the root filesystem that is tolerated',
  'systemd waits for a device without limit',
]);
