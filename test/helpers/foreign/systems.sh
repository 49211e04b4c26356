# The contents of the images, sourced by image.sh.

debian() {
  tar -C "$root" -xf "$source" --exclude='./dev/*' --exclude='./opt/inits'
  # On a busy host, udev may need more than systemd's 90 seconds to find the serial port.
  mkdir -p "$root/etc/systemd/system.conf.d"
  printf '[Manager]\nDefaultDeviceTimeoutSec=15min\nDefaultTimeoutStartSec=15min\n' > "$root/etc/systemd/system.conf.d/patience.conf"
}

# Replaces systemd with the named packages, which are in the tree.
other_init() {
  mkdir "$root/opt/inits"
  tar -C "$root" -xf "$source" ./opt/inits
  : > "$root/dev/null"
  packages=
  for package in "$@"; do packages="$packages $(cd "$root" && ls opt/inits/"$package"_*.deb)"; done
  chroot "$root" dpkg --force-depends --remove systemd-sysv > /dev/null
  (cd "$root" && DEBIAN_FRONTEND=noninteractive chroot . dpkg --install $packages) > /dev/null
  rm -rf "$root/opt/inits" "$root/dev/null"
  sed -i 's/^#T0:23:respawn:.*/T0:23:respawn:\/sbin\/getty -L ttyS0 115200 vt100/' "$root/etc/inittab"
}

kernel() { ls "${vmlinuz:-$root/boot/vmlinuz-}"*; }
initrd() { ls "${small_initrd:-$root/boot/initrd.img-}"*; }

fstab() { cat > "$root/etc/fstab"; }

# $1: the language, such as de_DE.UTF-8.
locale() { echo "LANG=$1" > "$root/etc/default/locale"; }

# An initrd with busybox and the modules for a virtio disk, which mounts the disk's partition $1, and a root with busybox.
busybox_system() {
  vmlinuz=${source%%:*}
  modules=${source#*:}
  initrd=$work/initrd
  mkdir -p "$initrd/bin" "$initrd/lib" "$initrd/dev" "$initrd/proc" "$initrd/new"
  cp /bin/busybox "$initrd/bin/"
  loads=
  for module in virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk ${2:-}; do
    file=$(find "$modules" -name "$module.ko*")
    # A module without a file is built into the kernel.
    [ -n "$file" ] || continue
    cp "$file" "$initrd/lib/"
    loads="$loads /lib/$(basename "$file")"
  done
  cat > "$initrd/init" <<INIT
#!/bin/busybox sh
/bin/busybox mount -t devtmpfs none /dev
for module in $loads; do /bin/busybox insmod \$module; done
until [ -b $1 ]; do /bin/busybox usleep 100000; done
/bin/busybox mount -t ext4 -o ro $1 /new
/bin/busybox mount --move /dev /new/dev
exec /bin/busybox switch_root /new /sbin/init
INIT
  chmod +x "$initrd/init"
  (cd "$initrd" && find . | cpio -o -H newc --quiet) > "$work/initrd.img"
  small_initrd=$work/initrd.img
  # The EFI stub and systemd-boot are Debian's, from the host.
  efi_programs=/usr/lib/systemd/boot/efi
  for directory in bin sbin etc/init.d proc sys dev run tmp root boot; do mkdir -p "$root/$directory"; done
  cp /bin/busybox "$root/bin/"
  for applet in $(/bin/busybox --list); do [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"; done
  ln -s /bin/busybox "$root/sbin/init"
  cat > "$root/etc/init.d/rcS" <<RCS
#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -o remount,rw /
hostname -F /etc/hostname
RCS
  chmod +x "$root/etc/init.d/rcS"
  echo foreign > "$root/etc/hostname"
  echo 'root:x:0:0:root:/root:/bin/sh' > "$root/etc/passwd"
  echo 'root:x:0:' > "$root/etc/group"
  cat > "$root/etc/inittab" <<'INITTAB'
::sysinit:/etc/init.d/rcS
ttyS0::respawn:/bin/getty -L 115200 ttyS0 vt100
::ctrlaltdel:/bin/reboot
::shutdown:/bin/umount -a -r
INITTAB
  printf 'NAME="Tiny Linux"\nPRETTY_NAME="Tiny Linux 1"\nID=tiny\nVERSION_ID=1\n' > "$root/etc/os-release"
  printf 'Tiny Linux \\r \\l\n' > "$root/etc/issue"
  echo "root:$(openssl passwd -6 -salt foreign foreign):19000:0:99999:7:::" > "$root/etc/shadow"
}
