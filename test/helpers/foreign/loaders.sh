# Boot loaders, each installed according to its documentation into an image that is not mounted; sourced by image.sh.

# GRUB for BIOS and EFI, which finds its menu by the filesystem label $1. The menu is grub.cfg in $2.
grub() {
  label=$1
  mkdir -p "$2/boot/grub" "$esp/EFI/BOOT"
  cat > "$2/boot/grub/grub.cfg"
  modules='all_video part_gpt part_msdos ext2 btrfs fat normal configfile search search_label linux serial terminal echo test sleep'
  printf 'search --no-floppy --label %s --set=root\nset prefix=($root)/boot/grub\n' "$label" > "$work/early.cfg"
  grub-mkimage -O x86_64-efi -o "$esp/EFI/BOOT/BOOTX64.EFI" -p /boot/grub -c "$work/early.cfg" $modules
  grub-mkimage -O i386-pc -o "$work/core.img" -p /boot/grub -c "$work/early.cfg" biosdisk $modules
}

# Installs GRUB's core image in the partition that starts at 1 MiB.
grub_bios() {
  python3 - "$image" "$work/core.img" /usr/lib/grub/i386-pc/boot.img <<'PYTHON'
import struct, sys
image, core, boot = sys.argv[1:]
core, boot = bytearray(open(core, 'rb').read()), bytearray(open(boot, 'rb').read())
struct.pack_into('<QHH', core, 0x1f4, 2049, (len(core) + 511) // 512 - 1, 0x820)
struct.pack_into('<Q', boot, 0x5c, 2048)
boot[0x64] = 0xff
boot[0x66:0x68] = b'\x90\x90'
with open(image, 'r+b') as disk:
    disk.write(boot[:440])
    disk.seek(2048 * 512)
    disk.write(core)
PYTHON
}

# SYSLINUX on the FAT, after fat_filesystem; its menu is syslinux.cfg in $esp.
syslinux_bios() {
  MTOOLS_SKIP_CHECK=1 syslinux --install --offset $esp_at "$image"
  dd if=/usr/lib/syslinux/mbr/mbr.bin of="$image" bs=440 count=1 conv=notrunc status=none
}

# systemd-boot from the release; the caller adds the entries.
systemd_boot() {
  mkdir -p "$esp/EFI/BOOT" "$esp/EFI/systemd" "$esp/loader/entries"
  cp "${efi_programs:-$root/usr/lib/systemd/boot/efi}/systemd-bootx64.efi" "$esp/EFI/BOOT/BOOTX64.EFI"
  cp "${efi_programs:-$root/usr/lib/systemd/boot/efi}/systemd-bootx64.efi" "$esp/EFI/systemd/systemd-bootx64.efi"
  printf 'timeout 0\n' > "$esp/loader/loader.conf"
}

# Combines the stub, a kernel, an initrd and a command line into one EFI program. $1: the file; $2: the kernel parameters.
unified_kernel_image() {
  mkdir -p "$(dirname "$1")"
  printf '%s' "$2" > "$work/cmdline"
  python3 "$here/unified-kernel-image.py" "$1" "${efi_programs:-$root/usr/lib/systemd/boot/efi}/linuxx64.efi.stub" \
    .osrel="$root/etc/os-release" .cmdline="$work/cmdline" .initrd="$(initrd)" .linux="$(kernel)"
}
