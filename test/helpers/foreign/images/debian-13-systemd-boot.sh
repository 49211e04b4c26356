# Debian 13 with systemd-boot, Type 1 entries and an initrd from dracut; root's shell is fish.
debian
sed -i 's,^\(root:.*\):/bin/bash$,\1:/usr/bin/fish,' "$root/etc/passwd"
mkdir -p "$root/root/.config/fish"
echo 'function fish_prompt; set_color green; echo -n "❯ "; set_color normal; end' > "$root/root/.config/fish/config.fish"
echo 'LABEL=foreign / ext4 defaults 0 1' | fstab
systemd_boot
mkdir -p "$esp/foreign"
cp "$(kernel)" "$esp/foreign/linux"
cp "$(initrd)" "$esp/foreign/initrd"
cat > "$esp/loader/entries/foreign.conf" <<'ENTRY'
title Debian GNU/Linux 13
linux /foreign/linux
initrd /foreign/initrd
options root=LABEL=foreign ro console=ttyS0,115200
ENTRY
gpt_disk 80 448
fat_filesystem
ext4_root
