#!/bin/sh
# A Debian image as somebody else would make it: mmdebstrap, sfdisk, mke2fs, GRUB for BIOS and EFI. Nothing of this project is
# in it or makes it. $1: the image; $2: the tree as a tar, which is made first.
set -eu
image=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tar=${2:-}
if [ -z "$tar" ]; then
  tar=$work/root.tar
  mode=root
  [ "$(id -u)" = 0 ] || mode=unshare
  mmdebstrap --quiet --mode=$mode --variant=minbase \
    --include=systemd-sysv,udev,linux-image-cloud-amd64,initramfs-tools \
    --customize-hook='echo root:foreign | chroot "$1" chpasswd' \
    --customize-hook='echo foreign > "$1/etc/hostname"' \
    --customize-hook='echo "LABEL=foreign / ext4 defaults 0 1" > "$1/etc/fstab"' \
    bookworm "$tar"
  # An ordinary user unpacks it where their own ids stand for those of the tree.
  [ "$mode" = root ] || { unshare --map-auto --map-root-user sh "$0" "$image" "$tar"; exit; }
fi
mkdir "$work/root"
tar -C "$work/root" -xf "$tar" --exclude='./dev/*'
mkdir -p "$work/root/boot/grub"
cat > "$work/root/boot/grub/grub.cfg" <<'END'
serial --unit=0 --speed=115200
terminal_output serial console
search --no-floppy --label foreign --set=root
set timeout=0
menuentry 'Foreign' {
  linux /vmlinuz root=LABEL=foreign ro console=tty0 console=ttyS0,115200
  initrd /initrd.img
}
END
truncate -s 1500M "$image"
# Sectors of 512 bytes: 1 MiB for GRUB, an ESP of 64 MiB, the rest is the root.
sfdisk --quiet --no-reread --no-tell-kernel "$image" <<'END'
label: gpt
start=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649
start=4096, size=131072, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B
start=135168, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4
END
mke2fs -q -F -t ext4 -L foreign -E offset=$((135168 * 512)) -d "$work/root" "$image" 1400M
mkfs.vfat -F 16 --offset 4096 "$image" 65536 > /dev/null
modules='all_video part_gpt ext2 fat normal configfile search search_label linux serial terminal echo'
printf 'search --no-floppy --label foreign --set=root\nset prefix=($root)/boot/grub\n' > "$work/early.cfg"
grub-mkimage -O x86_64-efi -o "$work/BOOTX64.EFI" -p /boot/grub -c "$work/early.cfg" $modules
grub-mkimage -O i386-pc -o "$work/core.img" -p /boot/grub -c "$work/early.cfg" biosdisk $modules
export MTOOLS_SKIP_CHECK=1
mmd -i "$image@@$((4096 * 512))" ::/EFI ::/EFI/BOOT
mcopy -i "$image@@$((4096 * 512))" "$work/BOOTX64.EFI" ::/EFI/BOOT/
python3 - "$image" "$work/core.img" /usr/lib/grub/i386-pc/boot.img <<'END'
import struct, sys
image, core, boot = sys.argv[1:]
core, boot = bytearray(open(core, 'rb').read()), bytearray(open(boot, 'rb').read())
struct.pack_into('<QHH', core, 0x1f4, 2049, (len(core) + 511) // 512 - 1, 0x820)
struct.pack_into('<Q', boot, 0x5c, 2048)
boot[0x64] = 0xff
boot[0x66:0x68] = b'\x90\x90'
with open(image, 'r+b') as disk:
    disk.write(boot[:440])
    disk.seek(2048 * 512)
    disk.write(core)
END
