# All packages in one merged /usr, without maintainer scripts, documentation and translations.
mkdir -p "$out"
cd "$out"
for directory in bin sbin lib lib64; do
  mkdir -p "usr/$directory"
  ln -s "usr/$directory" "$directory"
done
for deb in "$debs"/*.deb; do
  case ${deb##*/} in linux-image-*) continue ;; esac
  ar -p "$deb" data.tar.xz | tar -xJ -o --no-same-permissions
done
cd usr
rm -rf ../etc ../var ../opt ../run games local \
  share/doc share/man share/info share/locale share/lintian share/bash-completion share/zsh share/bug share/i18n \
  share/initramfs-tools share/polkit-1 share/doc-base share/menu share/dbus-1 share/perl5 share/gcc share/gdb \
  lib/x86_64-linux-gnu/gconv lib/udev/hwdb.d lib/udev/hwdb.bin lib/systemd/catalog lib/systemd/system-generators lib/modprobe.d \
  share/grub lib/grub/*/monolithic bin/grub-mount bin/grub-mkfont lib/x86_64-linux-gnu/security/pam_userdb.so
ln -sf bash bin/sh
ln -sf gawk bin/awk
# The link in the package is absolute, and would point out of the store.
ln -sf ../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 lib64/ld-linux-x86-64.so.2
ln -sfn /run/booted-system/kernel-modules/lib/modules lib/modules
for verb in halt poweroff reboot shutdown; do ln -sf ../bin/systemctl "sbin/$verb"; done
