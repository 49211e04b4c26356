# A system with only busybox, and GRUB with a menu on two terminals for 3 seconds; a quiet kernel.
busybox_system /dev/vda3
cp "$vmlinuz" "$root/boot/vmlinuz"
cp "$small_initrd" "$root/boot/initrd.img"
grub foreign "$root" <<'MENU'
serial --unit=0 --speed=115200
terminal_input serial console
terminal_output serial console
set timeout_style=menu
set timeout=3
menuentry 'Tiny Linux' {
  echo 'Loading Linux ...'
  linux /boot/vmlinuz quiet console=tty0 console=ttyS0
  echo 'Loading initial ramdisk ...'
  initrd /boot/initrd.img
}
submenu 'Advanced options for Tiny Linux' {
  menuentry 'Tiny Linux (recovery mode)' {
    linux /boot/vmlinuz single console=ttyS0
    initrd /boot/initrd.img
  }
}
MENU
gpt_disk 4 48
fat_bits=12 fat_filesystem
ext4_root
grub_bios
