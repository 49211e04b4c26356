#!@busybox@/bin/sh
# Stage 2: activates this system and starts its init.
export PATH=@busybox@/bin
exec < /dev/console > /dev/console 2>&1
printf '\n<<< NixOS Stage 2 >>>\n\n'
mount -o remount,rw /
echo "running activation script..."
@out@/activate
ln -sfn @out@ /run/booted-system
mount_fat() {
  device=$(findfs "LABEL=$1" 2> /dev/null) || return 0
  mkdir -p "$2"
  mount -t vfat -o umask=0077 "$device" "$2"
}
if grep -q . /etc/fstab; then
  # A root in memory has no mount points.
  while read -r _ at _; do case $at in /*) mkdir -p "$at" ;; esac; done < /etc/fstab
  mount -a
  swapon -a
fi
[ -z "@boot@" ] || grep -q " /boot " /etc/fstab || mount_fat "@boot@" /boot
[ "@esp@" != /efi ] || mount_fat ESP /efi
# Every machine creates its own at its first boot.
[ -s /etc/machine-id ] || tr -d - < /proc/sys/kernel/random/uuid > /etc/machine-id
if [ "@flavour@" = tiny ]; then
  echo "starting busybox init..."
  exec env -i PATH=/bin:/sbin HOME=/root TERM=vt220 @busybox@/bin/init
fi
echo "starting systemd..."
exec env -i PATH=/usr/sbin:/usr/bin LANG=C.UTF-8 /usr/lib/systemd/systemd
