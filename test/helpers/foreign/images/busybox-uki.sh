# A system with only busybox, as one EFI program at the path of the fallback loader.
busybox_system /dev/vda3
unified_kernel_image "$esp/EFI/BOOT/BOOTX64.EFI" 'console=tty0 console=ttyS0'
gpt_disk 48 48
fat_filesystem
ext4_root
