#!/bin/sh
# Makes a tar of a Debian tree, from which the images of a release are derived. $1: the release; $2: the tar.
set -eu
release=$1
tar=$2
here=$(dirname "$(readlink -f "$0")")
mode=root
[ "$(id -u)" = 0 ] || mode=unshare
common=systemd-sysv,udev,linux-image-cloud-amd64,locales,lz4,sudo
case $release in
  bookworm) packages=initramfs-tools,cryptsetup-initramfs,live-boot,zsh ;;
  trixie) packages=dbus,libpam-systemd,dracut,cryptsetup-bin,systemd-cryptsetup,systemd-boot-efi,btrfs-progs,fish ;;
esac
set -- --quiet --mode=$mode --variant=minbase --include="$common,$packages" --dpkgopt=force-unsafe-io
# Excludes files that no boot reads. German and Japanese stay, because some images use them.
for path in doc man info locale lintian bug; do set -- "$@" --dpkgopt="path-exclude=/usr/share/$path/*"; done
for language in de ja; do set -- "$@" --dpkgopt="path-include=/usr/share/locale/$language/*"; done
# Faster to make, and to unpack in an emulated machine, than the defaults of the two releases.
exec mmdebstrap "$@" \
  --essential-hook='mkdir -p "$1/etc/initramfs-tools/conf.d" "$1/etc/dracut.conf.d"' \
  --essential-hook='echo COMPRESS=lz4 > "$1/etc/initramfs-tools/conf.d/lz4"' \
  --essential-hook='printf "compress=lz4\nhostonly=no\n" > "$1/etc/dracut.conf.d/foreign.conf"' \
  --customize-hook="$(cat "$here/finish-tree.sh")" "$release" "$tar"
