# A system with only busybox, as an EFI program that systemd-boot finds in EFI/Linux; quiet.
busybox_system /dev/vda3
systemd_boot
unified_kernel_image "$esp/EFI/Linux/tiny.efi" 'quiet console=ttyS0'
gpt_disk 48 48
fat_filesystem
ext4_root
