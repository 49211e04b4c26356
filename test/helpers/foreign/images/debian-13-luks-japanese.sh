# Debian 13 in Japanese on LUKS, opened by systemd in dracut's initrd.
debian
locale ja_JP.UTF-8
uuid=0f0e1a9e-0000-4000-8000-000000000013
passphrase=$work/passphrase
printf 'correct horse' > "$passphrase"
echo '/dev/mapper/root / ext4 defaults 0 1' | fstab
systemd_boot
mkdir -p "$esp/foreign"
cp "$(kernel)" "$esp/foreign/linux"
cp "$(initrd)" "$esp/foreign/initrd"
cat > "$esp/loader/entries/foreign.conf" <<ENTRY
title Debian GNU/Linux 13
linux /foreign/linux
initrd /foreign/initrd
options rd.luks.name=$uuid=root root=/dev/mapper/root ro console=ttyS0
ENTRY
gpt_disk 80 448
fat_filesystem
luks_root
