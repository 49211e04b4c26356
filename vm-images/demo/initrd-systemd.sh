# An initrd whose init is systemd, with the files that NixOS puts there (boot.initrd.systemd): units, udev with its rules, crypttab.
# It is reproducible.
root=$NIX_BUILD_TOP/root
libraries=$userland/usr/lib/x86_64-linux-gnu
loader=$libraries/ld-linux-x86-64.so.2
package=$NIX_BUILD_TOP/package
mkdir -p "$root/usr/bin" "$root/usr/lib/x86_64-linux-gnu" "$root/usr/lib64" "$root/etc" "$package" "$out" \
  "$root/proc" "$root/sys" "$root/dev" "$root/run" "$root/sysroot" "$root/tmp" "$root/var"
ln -s bin "$root/usr/sbin"
for directory in bin sbin lib lib64; do ln -s "usr/$directory" "$root/$directory"; done

# The userland has no generators.
(cd "$package" && ar -p "$debs"/systemd_*.deb data.tar.xz | tar -xJ -o)
mkdir -p "$root/usr/lib/systemd/system-generators" "$root/usr/lib/systemd/system" "$root/usr/lib/udev" "$root/usr/lib/modprobe.d"
for name in systemd-cryptsetup-generator systemd-fstab-generator; do
  cp "$package/lib/systemd/system-generators/$name" "$root/usr/lib/systemd/system-generators/"
done
# With it, libcryptsetup opens what is bound to a TPM.
plugin=usr/lib/x86_64-linux-gnu/cryptsetup/libcryptsetup-token-systemd-tpm2.so
mkdir -p "$root/${plugin%/*}"
cp "$package/$plugin" "$root/$plugin"
units=$userland/usr/lib/systemd/system
for unit in basic.target cryptsetup-pre.target cryptsetup.target emergency.target final.target initrd-cleanup.service \
  initrd-fs.target initrd-parse-etc.service initrd-root-device.target initrd-root-fs.target initrd-switch-root.service \
  initrd-switch-root.target initrd-udevadm-cleanup-db.service initrd-usr-fs.target initrd.target local-fs-pre.target \
  local-fs.target paths.target poweroff.target reboot.target rescue.target shutdown.target slices.target sockets.target swap.target \
  sysinit.target systemd-ask-password-console.path systemd-ask-password-console.service systemd-journald.service \
  systemd-journald.socket systemd-journald-dev-log.socket systemd-poweroff.service systemd-reboot.service \
  systemd-udev-trigger.service systemd-udevd.service systemd-udevd-control.socket systemd-udevd-kernel.socket \
  'system-systemd\x2dcryptsetup.slice' timers.target umount.target; do
  cp "$units/$unit" "$root/usr/lib/systemd/system/"
done
cp "$package/lib/systemd/system/emergency.service" "$root/usr/lib/systemd/system/"
ln -s initrd.target "$root/usr/lib/systemd/system/default.target"
wants() {
  directory=$root/usr/lib/systemd/system/$1.wants
  mkdir -p "$directory"
  shift
  for unit; do ln -s "../$unit" "$directory/$unit"; done
}
wants sysinit.target cryptsetup.target systemd-ask-password-console.path systemd-journald.service systemd-udevd.service \
  systemd-udev-trigger.service
wants sockets.target systemd-journald.socket systemd-journald-dev-log.socket systemd-udevd-control.socket systemd-udevd-kernel.socket

programs="usr/lib/systemd/systemd usr/lib/systemd/systemd-cryptsetup usr/lib/systemd/systemd-journald
  usr/lib/systemd/systemd-shutdown usr/lib/systemd/systemd-sulogin-shell usr/lib/systemd/systemd-reply-password
  usr/bin/systemctl usr/bin/udevadm usr/bin/systemd-tty-ask-password-agent usr/bin/systemd-ask-password usr/bin/kmod usr/bin/mount
  usr/bin/umount usr/sbin/sulogin usr/sbin/dmsetup"
for program in $programs; do cp "$userland/$program" "$root/$program"; done
ln -s ../../bin/udevadm "$root/usr/lib/systemd/systemd-udevd"
ln -s kmod "$root/usr/bin/modprobe"
cp "$busybox/bin/busybox" "$root/usr/bin/busybox"
ln -s busybox "$root/usr/bin/sh"
cp -r "$userland/usr/lib/udev/." "$root/usr/lib/udev/"
chmod -R u+w "$root"
# Coldplug of what no disk needs takes seconds in an emulator.
for rules in alsa autosuspend camera cdrom_id drm evdev fido infiniband input joystick memory mouse net sensor serial sound tape touchpad v4l; do
  rm -f "$root"/usr/lib/udev/rules.d/*"$rules"*
done
cp -r "$linux/lib/modules" "$root/usr/lib/modules"

cp -L "$loader" "$root/usr/lib64/"
for program in $programs $plugin usr/lib/systemd/system-generators/systemd-fstab-generator usr/lib/systemd/system-generators/systemd-cryptsetup-generator; do
  "$loader" --library-path "$libraries:$userland/usr/lib/x86_64-linux-gnu/systemd" --list "$root/$program"
done | sed -n 's|.*=> \(/[^ ]*\) .*|\1|p' | sort -u | while read -r library; do cp -L "$library" "$root/usr/lib/x86_64-linux-gnu/"; done
# systemd and glibc open them by name when they need them.
for library in libgcc_s.so.1 libtss2-esys.so.0 libtss2-mu.so.0 libtss2-rc.so.0 libtss2-sys.so.1 libtss2-tcti-device.so.0; do
  cp -L "$libraries/$library" "$root/usr/lib/x86_64-linux-gnu/"
done

printf 'NAME=NixOS\nID=nixos\nPRETTY_NAME="NixOS (initrd)"\n' > "$root/etc/initrd-release"
ln -s initrd-release "$root/etc/os-release"
printf 'root:x:0:0::/root:/bin/sh\n' > "$root/etc/passwd"
printf 'root:x:0:\ntty:x:5:\ndisk:x:6:\nkmem:x:15:\nlp:x:7:\ndialout:x:20:\nkvm:x:103:\n' > "$root/etc/group"
: > "$root/etc/fstab"
mkdir -p "$root/etc/systemd"
printf '%s %s - tpm2-device=auto\n' "$luksName" "$luksDevice" > "$root/etc/crypttab"
ln -s usr/lib/systemd/systemd "$root/init"
chmod -R u+w,go-w "$root"
cd "$root"
find . -exec touch -h -d @1 {} +
find . | sort | "$loader" --library-path "$libraries" "$userland/usr/bin/cpio" \
  --create --format=newc --owner=0:0 --reproducible --quiet | gzip -9 -n > "$out/initrd"
