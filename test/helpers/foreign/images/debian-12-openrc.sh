# Debian 12 with OpenRC; GRUB with a menu of 3 seconds.
debian
other_init sysvinit-core openrc libeinfo1 librc1 initscripts insserv
echo 'LABEL=foreign / ext4 errors=remount-ro 0 0' | fstab
grub foreign "$root" <<'MENU'
serial --unit=0 --speed=115200
terminal_input serial console
terminal_output serial console
set timeout_style=menu
set timeout=3
menuentry 'Foreign GNU/Linux' {
  echo 'Loading Linux ...'
  linux /vmlinuz root=LABEL=foreign ro console=ttyS0,115200
  echo 'Loading initial ramdisk ...'
  initrd /initrd.img
}
submenu 'Advanced options' {
  menuentry 'Foreign GNU/Linux (recovery mode)' {
    linux /vmlinuz root=LABEL=foreign ro single console=ttyS0,115200
    initrd /initrd.img
  }
}
MENU
gpt_disk 4 512
fat_bits=12 fat_filesystem
ext4_root
grub_bios
