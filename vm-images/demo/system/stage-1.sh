#!/bin/busybox sh
# Stage 1: finds the root filesystem by `root=`, mounts it, and starts stage 2, given by `init=`.
export PATH=/bin
/bin/busybox mkdir -p /proc /sys /dev /run /root-fs
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs -o mode=0755 tmpfs /run
exec < /dev/console > /dev/console 2>&1
printf '\n<<< NixOS Stage 1 >>>\n\n'

fail() {
  echo "stage 1: $*"
  echo "An error occurred in stage 1 of the boot process, which must mount the"
  echo "root filesystem on /mnt-root and then start stage 2."
  poweroff -f
}

root='' init='' type='' flags=''
for word in $(cat /proc/cmdline); do
  case $word in
    root=*) root=${word#root=} ;;
    init=*) init=${word#init=} ;;
    rootfstype=*) type=${word#rootfstype=} ;;
    rootflags=*) flags=${word#rootflags=} ;;
  esac
done
[ -n "$init" ] || fail "there is no init= on the kernel command line"
# Includes modules for the filesystems that stage 2 mounts, like NixOS's boot.initrd.kernelModules.
for module in virtio_pci virtio_mmio virtio_blk virtio_scsi sd_mod vfat nls_cp437 nls_ascii efivarfs @modules@; do modprobe -q "$module" 2> /dev/null; done

# The root in LUKS, in the words of NixOS's initrd without systemd (luksroot.nix), which reads a second at a time.
open_luks() {
  for module in dm-mod dm-crypt xts ecb algif_skcipher algif_hash; do modprobe -q "$module" 2> /dev/null; done
  mkdir -p /dev/disk/by-uuid /run/cryptsetup
  attempts=0
  until found=$(findfs "UUID=${1##*/}" 2> /dev/null); do
    [ "$attempts" -gt 0 ] || printf 'Waiting 10 seconds for device %s to appear...' "$1"
    [ "$attempts" -lt 10 ] || { echo ' - failure'; fail "$1 is unavailable"; }
    attempts=$((attempts + 1))
    printf .
    sleep 1
  done
  [ "$attempts" -eq 0 ] || echo ' - success'
  ln -s "$found" "$1"
  while :; do
    printf 'Passphrase for %s: ' "$1"
    stty -echo
    until IFS= read -t 1 -r passphrase; do :; done
    stty echo
    echo
    [ -n "$passphrase" ] || continue
    printf 'Verifying passphrase for %s...' "$1"
    printf %s "$passphrase" | cryptsetup luksOpen @luksDevice@ @luksName@ --key-file=- && break
    echo ' - failure'
  done
  echo ' - success'
}
[ -z "@luksName@" ] || open_luks @luksDevice@

attempts=0
device=''
while [ -z "$device" ]; do
  case $root in
    LABEL=* | UUID=*) device=$(findfs "$root" 2> /dev/null) ;;
    /dev/*) [ -b "$root" ] && device=$root ;;
    tmpfs) device=tmpfs ;;
    *) fail "root=$root on the kernel command line names no device" ;;
  esac
  attempts=$((attempts + 1))
  [ "$attempts" -le 100 ] || fail "the root device $root was not found"
  [ -n "$device" ] || usleep 100000
done
echo "mounting $device ($root) on /..."
[ "$root" != tmpfs ] || type=tmpfs
mount_root() { mount ${type:+-t "$type"} ${flags:+-o "$flags"} "$device" /root-fs; }
# Filesystem modules are loaded only if necessary, because each takes a second in an emulator.
if ! mount_root 2> /dev/null; then
  for module in btrfs xfs; do modprobe -q $module; done
  mount_root || fail "cannot mount $device"
fi
# What stage 2 itself needs, like NixOS's fileSystems.NAME.neededForBoot.
while read -r from at kind options _; do
  [ -n "$from" ] || continue
  device=$(findfs "$from" 2> /dev/null) || fail "the device $from was not found"
  modprobe -q "$kind" 2> /dev/null
  echo "mounting $device ($from) on $at..."
  mkdir -p "/root-fs$at"
  mount -t "$kind" -o "$options" "$device" "/root-fs$at" || fail "cannot mount $device"
done < /etc/fstab
[ -e "/root-fs$init" ] || fail "stage 2 init script ($init) not found"
for directory in proc sys dev run; do
  mkdir -p "/root-fs/$directory"
  mount --move "/$directory" "/root-fs/$directory"
done
exec switch_root /root-fs "$init"
