# Debian 13 as one EFI program at the path of the fallback loader; quiet, with a login as an ordinary user.
debian
echo 'LABEL=foreign / ext4 defaults 0 1' | fstab
sed -i "s,^root:[^:]*:,root:!:," "$root/etc/shadow"
unified_kernel_image "$esp/EFI/BOOT/BOOTX64.EFI" 'root=LABEL=foreign ro quiet console=ttyS0,115200'
gpt_disk 80 448
fat_filesystem
ext4_root
