# A system with only busybox, and SYSLINUX; Enter on its console starts a root shell without a login, as on many routers.
busybox_system /dev/vda2
cat > "$root/etc/inittab" <<'INITTAB'
::sysinit:/etc/init.d/rcS
ttyS0::askfirst:-/bin/sh
::shutdown:/bin/umount -a -r
INITTAB
cp "$vmlinuz" "$esp/vmlinuz"
cp "$work/initrd.img" "$esp/initrd.img"
cat > "$esp/syslinux.cfg" <<'MENU'
SERIAL 0 115200
PROMPT 1
TIMEOUT 20
DEFAULT tiny
SAY Tiny Linux
LABEL tiny
  LINUX /vmlinuz
  INITRD /initrd.img
  APPEND root=/dev/vda2 console=ttyS0
MENU
dos_disk 32 48
fat_filesystem
ext4_root
syslinux_bios
