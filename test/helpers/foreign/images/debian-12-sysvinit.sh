# Debian 12 with sysvinit; SYSLINUX, as on a machine without EFI.
debian
other_init sysvinit-core sysv-rc startpar initscripts insserv
echo 'LABEL=foreign / ext4 errors=remount-ro 0 0' | fstab
cp "$(kernel)" "$esp/vmlinuz"
cp "$(initrd)" "$esp/initrd.img"
cat > "$esp/syslinux.cfg" <<'MENU'
SERIAL 0 115200
DEFAULT linux
LABEL linux
  LINUX /vmlinuz
  APPEND initrd=/initrd.img root=LABEL=foreign ro console=tty0 console=ttyS0,115200n8
MENU
dos_disk 64 512
fat_filesystem
ext4_root
syslinux_bios
