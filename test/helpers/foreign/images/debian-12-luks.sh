# Debian 12 on LUKS, opened by initramfs-tools; GRUB with a menu on two terminals reads the kernel from a FAT of its own.
# The header and the ciphertext are created in a file, without the device mapper.
debian
passphrase=$work/passphrase
printf 'correct horse' > "$passphrase"
uuid=0f0e1a9e-0000-4000-8000-000000000012
echo "cryptroot UUID=$uuid none luks,initramfs" > "$root/etc/crypttab"
echo '/dev/mapper/cryptroot / ext4 defaults 0 1' | fstab
cp "$(kernel)" "$esp/vmlinuz"
cp "$root/boot/initrd-luks.img" "$esp/initrd.img"
grub BOOT "$esp" <<'MENU'
serial --unit=0 --speed=115200
terminal_input serial console
terminal_output serial console
set timeout=3
menuentry 'Foreign GNU/Linux' {
  linux /vmlinuz root=/dev/mapper/cryptroot ro console=tty0 console=ttyS0
  initrd /initrd.img
}
menuentry 'Foreign GNU/Linux (rescue)' {
  linux /vmlinuz root=/dev/mapper/cryptroot ro single console=ttyS0
  initrd /initrd.img
}
MENU
gpt_disk 64 512
fat_filesystem
luks_root
grub_bios
