#!/bin/sh
# Builds the small guest's disk without this project's tools: with mke2fs, sfdisk, grub-mkimage and dd. Its root has busybox, and the
# real shells, agetty, login, sudo and PAM of this host. Run under fakeroot.
# $1: directory for disk.img and initrd; $2: a kernel; $3: its lib/modules/VERSION; $4: directory of init and tree.
set -eu
out=$1 kernel=$2 modules=$3 sources=$4
PATH=$PATH:/usr/sbin:/sbin
security=/lib/x86_64-linux-gnu/security

# $1: a root, which gets busybox and a link for each of its applets.
add_busybox() {
  for name in bin sbin proc sys dev run tmp root mnt etc usr/bin usr/sbin var/log; do mkdir -p "$1/$name"; done
  cp "$(command -v busybox)" "$1/bin/busybox"
  for program in $(busybox --list); do [ -e "$1/bin/$program" ] || ln -s busybox "$1/bin/$program"; done
}

# $1: a root; $2: a file on this host; $3: its path in the root. Its libraries keep their paths.
add() {
  mkdir -p "$1$(dirname "$3")"
  cp "$2" "$1$3"
  ldd "$2" | grep -o '/[^ ]*' | while read -r library; do
    mkdir -p "$1$(dirname "$library")"
    [ -e "$1$library" ] || cp "$library" "$1$library"
  done
}

initrd=$out/initrd.root
add_busybox "$initrd"
cp "$sources/init" "$initrd/init"
chmod 755 "$initrd/init"
mkdir "$initrd/modules"
for module in virtio/virtio virtio/virtio_ring virtio/virtio_pci_legacy_dev virtio/virtio_pci_modern_dev virtio/virtio_pci \
  block/virtio_blk block/loop input/evdev acpi/button; do
  cp "$modules/kernel/drivers/$module.ko" "$initrd/modules/"
done
cp "$modules/kernel/fs/overlayfs/overlay.ko" "$initrd/modules/"
(cd "$initrd" && find . | sort | cpio --quiet --create --format=newc --owner=0:0) > "$out/initrd"
# Additions of a test case to the initrd: see small-guest.ts.
: | cpio --quiet --create --format=newc > "$out/mode"

root=$out/root
add_busybox "$root"
cp -R "$sources/tree/." "$root/"
for name in init getty poweroff reboot; do ln -s ../bin/busybox "$root/sbin/$name"; done
for name in bash zsh fish login sudo; do add "$root" "$(command -v $name)" /usr/bin/$name; done
add "$root" "$(command -v agetty)" /usr/sbin/agetty
for name in d/dumb l/linux v/vt100 x/xterm; do mkdir -p "$root/usr/share/terminfo/${name%/*}"; cp /lib/terminfo/$name "$root/usr/share/terminfo/$name"; done
add "$root" /usr/libexec/sudo/sudoers.so /usr/libexec/sudo/sudoers.so
for library in /usr/libexec/sudo/libsudo_util.so.0; do add "$root" $library $library; done
for name in unix permit deny; do add "$root" $security/pam_$name.so $security/pam_$name.so; done
mkdir -p "$root/usr/share" "$root/usr/lib/x86_64-linux-gnu" "$root/home/nick" "$root/boot/grub"
mkdir "$root/usr/share/fish"
cp -R /usr/share/fish/config.fish /usr/share/fish/functions "$root/usr/share/fish/"
cp -R /usr/lib/x86_64-linux-gnu/zsh "$root/usr/lib/x86_64-linux-gnu/"
cp "$kernel" "$root/boot/vmlinuz"
cp "$out/initrd" "$out/mode" "$modules/kernel/drivers/block/loop.ko" "$root/boot/"
chmod -R u+rwX,go=rX "$root"
chmod 755 "$root"/etc/rc.*
chmod 600 "$root/etc/shadow"
chmod 440 "$root/etc/sudoers"
chmod 4755 "$root/usr/bin/sudo"
chmod 1777 "$root/tmp"
chmod 700 "$root/root"
chown -R 0:0 "$root"
chown -R 1000:1000 "$root/home/nick"

sectors=$((96 * 2048))
truncate -s $((sectors * 512)) "$out/disk.img"
echo "start=2048, size=$((sectors - 2048)), type=83, bootable" | sfdisk --quiet --no-reread --no-tell-kernel --label dos "$out/disk.img"
mke2fs -q -F -t ext4 -L small -E offset=1048576 -d "$root" "$out/disk.img" $(((sectors - 2048) / 2))k
grub-mkimage -O i386-pc -o "$out/core.img" -p '(hd0,msdos1)/boot/grub' \
  biosdisk part_msdos ext2 normal configfile linux linux16 serial terminal echo sleep reboot halt test true read loadenv
dd status=none if=/usr/lib/grub/i386-pc/boot.img of="$out/disk.img" bs=440 count=1 conv=notrunc
# The two NOPs enable the check of the boot drive number. @see grub-core/boot/i386/pc/boot.S
printf '\220\220' | dd status=none of="$out/disk.img" bs=1 seek=102 conv=notrunc
dd status=none if="$out/core.img" of="$out/disk.img" bs=512 seek=1 conv=notrunc
# The core image's first sector has the location of the rest: from sector 2, this many sectors, to segment 0x820.
length=$((($(stat -c %s "$out/core.img") + 511) / 512 - 1))
printf "\\$(printf %o $((length % 256)))\\$(printf %o $((length / 256)))" \
  | dd status=none of="$out/disk.img" bs=1 seek=$((512 + 508)) conv=notrunc
rm -r "$initrd" "$root" "$out/core.img"
