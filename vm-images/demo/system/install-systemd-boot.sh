#!@busybox@/bin/sh
# Writes the same files to the ESP, and to XBOOTLDR if it exists, as bootctl and NixOS's installer, except the random
# seed, which all machines of an image would share.
set -eu
export PATH=@busybox@/bin
profiles=/nix/var/nix/profiles
esp=@esp@

# Converts the path of a store file to STORE-PATH-FILE.
copy_name() { file=$(readlink -f "$1"); name=${file#/nix/store/}; echo "${name%%/*}-${file##*/}"; }
generations() { for link in $profiles/system-*-link; do number=${link#"$profiles"/system-}; echo "${number%-link}"; done | sort -n; }
place() { [ -e "$2" ] || { cp "$1" "$2.new"; mv "$2.new" "$2"; }; }

# Arguments: number, name of the specialisation or "", toplevel
entry() {
  kernel=$(copy_name "$3/kernel").efi
  initrd=$(copy_name "$3/initrd").efi
  place "$3/kernel" "/boot/EFI/nixos/$kernel"
  place "$3/initrd" "/boot/EFI/nixos/$initrd"
  cat > /boot/loader/entries/new <<END
title NixOS${2:+ ($2)}
sort-key nixos
version Generation $1 $(cat "$3/nixos-version"), built on $(date -u +%F)
linux /EFI/nixos/$kernel
initrd /EFI/nixos/$initrd
options init=$3/init $(cat "$3/kernel-params")
END
  mv /boot/loader/entries/new "/boot/loader/entries/nixos-generation-$1${2:+-specialisation-$2}.conf"
}

echo "updating systemd-boot..."
if [ "${NIXOS_INSTALL_BOOTLOADER:-}" = 1 ]; then
  mkdir -p $esp/EFI/systemd $esp/EFI/BOOT $esp/loader /boot/EFI/Linux /boot/loader/entries
  cp @systemdBoot@/lib/systemd/boot/efi/systemd-bootx64.efi $esp/EFI/systemd/systemd-bootx64.efi
  cp @systemdBoot@/lib/systemd/boot/efi/systemd-bootx64.efi $esp/EFI/BOOT/BOOTX64.EFI
  echo type1 > /boot/loader/entries.srel
elif [ ! -e $esp/EFI/systemd/systemd-bootx64.efi ]; then
  echo "Could not find any previously installed systemd-boot." >&2
  exit 1
fi
mkdir -p /boot/EFI/nixos/.extra-files /boot/loader/entries
for number in $(generations); do
  toplevel=$(readlink -f "$profiles/system-$number-link")
  entry "$number" '' "$toplevel"
  for link in "$toplevel"/specialisation/*; do
    [ ! -e "$link" ] || entry "$number" "${link##*/}" "$(readlink -f "$link")"
  done
done
printf 'timeout 0\ndefault nixos-generation-%s.conf\nconsole-mode keep\n' "$number" > $esp/loader/loader.conf
