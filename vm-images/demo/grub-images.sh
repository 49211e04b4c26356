# Prebuilt GRUB core images, for the system without grub-install. Each searches for grub.cfg on the boot partition or
# the root. The embedded grub.cfg has another path, so that the search does not find it.
mkdir -p "$out" "$NIX_BUILD_TOP/memory/embedded"
cd "$NIX_BUILD_TOP"
cat > memory/embedded/grub.cfg <<'END'
serial --unit=0 --speed=115200
terminal_input serial console
terminal_output serial
if search --no-floppy --set=root --file /grub/grub.cfg; then
  configfile /grub/grub.cfg
elif search --no-floppy --set=root --file /boot/grub/grub.cfg; then
  configfile /boot/grub/grub.cfg
fi
END
find memory -exec touch -d @1 {} +
tar -C memory -cf memory.tar embedded
libraries=$userland/usr/lib/x86_64-linux-gnu
mkimage() {
  platform=$1
  shift
  "$libraries/ld-linux-x86-64.so.2" --library-path "$libraries" "$userland/usr/bin/grub-mkimage" \
    --directory="$userland/usr/lib/grub/$platform" --format="$platform" --memdisk=memory.tar --prefix='(memdisk)/embedded' "$@" \
    memdisk tar normal configfile search search_label search_fs_file search_fs_uuid linux ext2 fat part_gpt part_msdos serial terminal echo test
}
mkimage i386-pc --output="$out/core.img" biosdisk
cp "$userland/usr/lib/grub/i386-pc/boot.img" "$out/boot.img"
mkimage x86_64-efi --output="$out/BOOTX64.EFI" efi_gop
