#!@busybox@/bin/sh
# switch-to-configuration boot: makes the newest generation the boot default, and with NIXOS_INSTALL_BOOTLOADER=1 also
# installs the boot loader. As in NixOS, it runs the installer script of the boot loader.
set -eu
export PATH=@busybox@/bin:@sw@/bin:@sw@/sbin
case ${1:-} in
  boot | switch) ;;
  *) echo "Usage: $0 [switch|boot]" >&2; exit 1 ;;
esac
if [ ! -e /etc/NIXOS ]; then
  echo "This is not a NixOS installation!" >&2
  exit 1
fi
@installBootLoader@ @out@
sync
