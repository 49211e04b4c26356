# A system with only busybox, and systemd-boot with a menu for 2 seconds and two Type 1 entries.
busybox_system /dev/vda3
systemd_boot
printf 'timeout 2\ndefault tiny.conf\n' > "$esp/loader/loader.conf"
mkdir "$esp/tiny"
cp "$vmlinuz" "$esp/tiny/linux"
cp "$small_initrd" "$esp/tiny/initrd"
printf 'title Tiny Linux\nlinux /tiny/linux\ninitrd /tiny/initrd\noptions console=ttyS0\n' > "$esp/loader/entries/tiny.conf"
printf 'title Tiny Linux (quiet)\nlinux /tiny/linux\ninitrd /tiny/initrd\noptions quiet console=ttyS0\n' > "$esp/loader/entries/quiet.conf"
gpt_disk 48 48
fat_filesystem
ext4_root
