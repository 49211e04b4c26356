# The kernel, with NixOS's file names, and the modules that a virtual machine needs, with their dependencies.
modules="virtio_pci virtio_mmio virtio_blk virtio_scsi virtio_console virtio-rng virtio_net sd_mod sr_mod vfat nls_cp437 nls_ascii
  nls_iso8859-1 efivarfs autofs4 loop overlay btrfs xfs erofs squashfs
  dm-mod dm-crypt xts ecb algif_skcipher algif_hash"
work=$NIX_BUILD_TOP/package
mkdir -p "$work" "$out"
cd "$work"
ar -p "$debs"/linux-image-*.deb data.tar.xz | tar -xJ -o
version=$(ls lib/modules)
cp "boot/vmlinuz-$version" "$out/$kernel"
libraries=$userland/usr/lib/x86_64-linux-gnu
depmod() { "$libraries/ld-linux-x86-64.so.2" --argv0 depmod --library-path "$libraries" "$userland/usr/bin/kmod" -b "$1" "$version"; }
# kmod reads indexes that only its own depmod writes.
depmod "$work"
from=lib/modules/$version
to=$out/lib/modules/$version
mkdir -p "$to"
cp "$from/modules.builtin" "$from/modules.builtin.modinfo" "$from/modules.order" "$to/"
kept=$NIX_BUILD_TOP/kept
for module in $modules; do
  line=$(grep -E "(^|/)$module\.ko:" "$from/modules.dep") || { echo "the kernel has no module $module" >&2; exit 1; }
  echo "$line" | tr -d :
done > "$kept"
tr ' ' '\n' < "$kept" | sort -u | while read -r file; do
  [ -n "$file" ] || continue
  mkdir -p "$to/${file%/*}"
  cp "$from/$file" "$to/$file"
done
depmod "$out"
