# Debian 12 as a live system: a squashfs under an overlay, on a disk with only a FAT.
debian
: | fstab
mkdir -p "$esp/live"
cp "$(kernel)" "$esp/live/vmlinuz"
cp "$(initrd)" "$esp/live/initrd.img"
rm -f "$root"/boot/initrd*
mksquashfs "$root" "$esp/live/filesystem.squashfs" -comp lz4 -no-progress -quiet -noappend
grub BOOT "$esp" <<'MENU'
serial --unit=0 --speed=115200
terminal_input serial console
terminal_output serial console
set timeout=1
menuentry 'Live system' {
  linux /live/vmlinuz boot=live quiet console=tty0 console=ttyS0
  initrd /live/initrd.img
}
MENU
gpt_disk 300 1
fat_filesystem
grub_bios
