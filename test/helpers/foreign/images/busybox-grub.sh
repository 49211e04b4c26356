# A system with only busybox, and GRUB for both firmwares.
busybox_system /dev/vda3
cp "$vmlinuz" "$root/boot/vmlinuz"
cp "$work/initrd.img" "$root/boot/initrd.img"
grub foreign "$root" <<'MENU'
serial --unit=0 --speed=115200
terminal_output serial
set timeout=0
menuentry 'Tiny' {
  linux /boot/vmlinuz root=/dev/vda3 console=ttyS0
  initrd /boot/initrd.img
}
MENU
gpt_disk 4 48
fat_bits=12 fat_filesystem
ext4_root
grub_bios
