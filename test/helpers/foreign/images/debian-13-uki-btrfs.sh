# Debian 13 as an EFI program that systemd-boot finds in EFI/Linux; its root is a subvolume of a btrfs.
debian
echo 'LABEL=foreign / btrfs subvol=@ 0 0' | fstab
systemd_boot
unified_kernel_image "$esp/EFI/Linux/debian-13.efi" 'root=LABEL=foreign rootflags=subvol=@ ro console=tty0 console=ttyS0'
gpt_disk 80 768
fat_filesystem
btrfs_root
