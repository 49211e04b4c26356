# A system with only busybox and no serial console: GRUB for both firmwares, the kernel and the login use the screen.
busybox_system /dev/vda3
sed -i 's/^ttyS0:.*/tty1::respawn:\/bin\/getty 38400 tty1 linux/' "$root/etc/inittab"
cp "$vmlinuz" "$root/boot/vmlinuz"
cp "$work/initrd.img" "$root/boot/initrd.img"
grub foreign "$root" <<'MENU'
set timeout=0
menuentry 'Tiny' {
  linux /boot/vmlinuz root=/dev/vda3
  initrd /boot/initrd.img
}
MENU
gpt_disk 4 48
fat_bits=12 fat_filesystem
ext4_root
grub_bios
