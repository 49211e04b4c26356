# Debian 12 with systemd, and GRUB for both firmwares on two terminals.
debian
echo 'LABEL=foreign / ext4 defaults 0 1' | fstab
grub foreign "$root" <<'MENU'
serial --unit=0 --speed=115200
terminal_output serial console
search --no-floppy --label foreign --set=root
set timeout=0
menuentry 'Foreign' {
  linux /vmlinuz root=LABEL=foreign ro console=tty0 console=ttyS0,115200
  initrd /initrd.img
}
MENU
gpt_disk 4 512
fat_bits=12 fat_filesystem
ext4_root
grub_bios
