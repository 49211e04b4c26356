#!@busybox@/bin/sh
# Installs GRUB with grub-install, or from prebuilt images in the system without grub-install, and writes the menu to
# the same path as NixOS's installer.
set -eu
export PATH=@busybox@/bin:@sw@/bin:@sw@/sbin
profiles=/nix/var/nix/profiles
install=${NIXOS_INSTALL_BOOTLOADER:-}

# Converts a store path to a file name.
copy_name() { file=$(readlink -f "$1"); echo "${file#/nix/store/}" | tr / -; }
generations() { for link in $profiles/system-*-link; do number=${link#"$profiles"/system-}; echo "${number%-link}"; done | sort -rn; }
place() { [ -e "$2" ] || { cp "$1" "$2.new"; mv "$2.new" "$2"; }; }

disk() { device=$(awk '$2 == "/" { print $1 }' /proc/mounts); echo "$device" | sed 's/p\{0,1\}[0-9]*$//'; }

le() { value=$1 count=$2; while [ "$count" -gt 0 ]; do printf "\\x$(printf %x $((value & 255)))"; value=$((value >> 8)); count=$((count - 1)); done; }
poke() { dd of="$1" bs=1 seek="$2" conv=notrunc 2> /dev/null; }

# Writes the boot sector and the core image like grub-install: into the gap after an MBR, or into the BIOS boot
# partition.
embed_grub() {
  disk=$1
  sector=1
  slot=0
  while [ $slot -lt 8 ]; do
    entry=$((1024 + slot * 128))
    [ "$(dd if="$disk" bs=1 skip=$entry count=16 2> /dev/null)" != 'Hah!IdontNeedEFI' ] || sector=$(hexdump -s $((entry + 32)) -n 4 -e '1/4 "%u"' "$disk")
    slot=$((slot + 1))
  done
  cp @grubImages@/core.img /tmp/core.img
  chmod u+w /tmp/core.img
  sectors=$((($(stat -c %s /tmp/core.img) + 511) / 512))
  { le $((sector + 1)) 8; le $((sectors - 1)) 2; le $((0x820)) 2; } | poke /tmp/core.img $((0x1f4))
  dd if=/tmp/core.img of="$disk" bs=512 seek=$sector conv=notrunc 2> /dev/null
  dd if=@grubImages@/boot.img of="$disk" bs=1 count=440 conv=notrunc 2> /dev/null
  le $sector 8 | poke "$disk" $((0x5c))
  le 255 1 | poke "$disk" $((0x64))
  le $((0x9090)) 2 | poke "$disk" $((0x66))
  rm /tmp/core.img
}

# Arguments: title, toplevel
entry() {
  kernel=$(readlink -f "$2/kernel")
  initrd=$(readlink -f "$2/initrd")
  if [ -n "@boot@" ]; then
    mkdir -p /boot/kernels
    place "$kernel" "/boot/kernels/$(copy_name "$kernel")"
    place "$initrd" "/boot/kernels/$(copy_name "$initrd")"
    kernel=/kernels/$(copy_name "$kernel")
    initrd=/kernels/$(copy_name "$initrd")
  fi
  printf 'menuentry "%s" --class nixos --unrestricted {\n' "$1"
  if [ -n "$label" ]; then printf '  search --set=drive1 --label %s\n' "$label"; else printf '  set drive1=$root\n'; fi
  printf '  linux ($drive1)%s init=%s/init %s\n  initrd ($drive1)%s\n}\n' "$kernel" "$2" "$(cat "$2/kernel-params")" "$initrd"
}

echo "updating GRUB..."
if [ "$install" = 1 ]; then
  for target in @grubTargets@; do
    echo "installing GRUB for $target..."
    if [ -n "@grubImages@" ]; then
      if [ $target = i386-pc ]; then
        embed_grub "$(disk)"
      else
        mkdir -p @esp@/EFI/BOOT
        cp @grubImages@/BOOTX64.EFI @esp@/EFI/BOOT/BOOTX64.EFI
      fi
      continue
    fi
    set -- --target=$target --boot-directory=/boot --locales= --fonts= --themes= \
      --install-modules="part_gpt part_msdos ext2 fat btrfs xfs f2fs normal linux search search_fs_uuid search_label serial terminal echo test configfile"
    case $target in
      i386-pc) grub-install "$@" --no-rs-codes "$(disk)" ;;
      *) grub-install "$@" --efi-directory=@esp@ --removable --no-nvram ;;
    esac
    # Only installed modules: otherwise GRUB would try every filesystem module, and print an error for each missing one.
    printf 'ext2\nfat\nbtrfs\nxfs\nf2fs\n' > /boot/grub/$target/fs.lst
  done
fi
mkdir -p /boot/grub
# On a separate partition, /boot has copies of the kernels. Otherwise GRUB reads them from the store.
if [ -n "@boot@" ]; then label=@boot@; else label=$(echo "@kernelParams@" | tr ' ' '\n' | sed -n 's/^root=LABEL=//p'); fi
{
  printf 'serial --unit=0 --speed=115200\nterminal_input serial console\nterminal_output serial\nset default=0\nset timeout=0\n'
  for number in $(generations); do
    toplevel=$(readlink -f "$profiles/system-$number-link")
    entry "NixOS - Configuration $number" "$toplevel"
    for link in "$toplevel"/specialisation/*; do
      [ ! -e "$link" ] || entry "NixOS - Configuration $number (${link##*/})" "$(readlink -f "$link")"
    done
  done
} > /boot/grub/grub.cfg.new
mv /boot/grub/grub.cfg.new /boot/grub/grub.cfg
