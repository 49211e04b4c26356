# Partition tables and filesystems, sourced by image.sh. Sectors have 512 bytes.

# A GPT with 1 MiB for GRUB, an ESP of $1 MiB and a root of $2 MiB. Sets the offsets of the partitions.
gpt_disk() {
  esp_mib=$1
  root_mib=$2
  esp_at=$((2 << 20))
  root_at=$(((2 + esp_mib) << 20))
  truncate -s $((root_at + ((root_mib + 1) << 20))) "$image"
  sfdisk --quiet --no-reread --no-tell-kernel "$image" <<TABLE
label: gpt
start=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649
start=4096, size=${esp_mib}MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B
start=$((root_at / 512)), size=${root_mib}MiB, type=${root_type:-0FC63DAF-8483-4772-8E79-3D69D8477DE4}
TABLE
}

# An MBR with an active FAT of $1 MiB for the loader and a root of $2 MiB.
dos_disk() {
  esp_mib=$1
  root_mib=$2
  esp_at=$((1 << 20))
  root_at=$(((1 + esp_mib) << 20))
  truncate -s $((root_at + (root_mib << 20))) "$image"
  sfdisk --quiet --no-reread --no-tell-kernel "$image" <<TABLE
label: dos
start=2048, size=${esp_mib}MiB, type=c, bootable
start=$((root_at / 512)), size=${root_mib}MiB, type=83
TABLE
}

# The FAT, with the files in $esp.
fat_filesystem() {
  mkfs.vfat -F "${fat_bits:-16}" -h $((esp_at / 512)) -n BOOT --offset $((esp_at / 512)) "$image" $((esp_mib * 1024)) > /dev/null
  [ -z "$(ls "$esp")" ] || MTOOLS_SKIP_CHECK=1 mcopy -s -i "$image@@$esp_at" "$esp"/* ::/
}

# The root filesystem, with the files in $root.
ext4_root() {
  mke2fs -q -F -t ext4 -L foreign -E offset=$root_at -d "$root" "$image" ${root_mib}M
}

# The encrypted root filesystem, with the UUID $uuid and the passphrase in the file $passphrase. The key derivation has fixed
# costs, because cryptsetup would otherwise measure this host; the header takes 16 MiB of the partition.
luks_root() {
  plain=$work/plain
  truncate -s $((root_mib - 32))M "$plain"
  mke2fs -q -F -t ext4 -L foreign -d "$root" "$plain"
  truncate -s "${root_mib}M" "$plain"
  cryptsetup --disable-locks --batch-mode reencrypt --encrypt --type luks2 --reduce-device-size 32M --resilience none \
    --uuid "$uuid" --sector-size 512 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --key-file "$passphrase" "$plain"
  dd if="$plain" of="$image" bs=1M seek=$((root_at >> 20)) conv=notrunc status=none
}

# The root filesystem as a btrfs with the subvolume @, made by the tree's mkfs, because Debian 12's cannot create subvolumes.
btrfs_root() {
  mkdir "$work/top"
  mv "$root" "$work/top/@"
  truncate -s "${root_mib}M" "$work/btrfs"
  tree="$work/top/@"
  "$tree/lib64/ld-linux-x86-64.so.2" --library-path "$tree/usr/lib/x86_64-linux-gnu" "$tree/usr/sbin/mkfs.btrfs" \
    --quiet --label foreign --rootdir "$work/top" --subvol @ "$work/btrfs"
  # mkfs silently enlarges a file that is too small for the tree.
  [ "$(stat -c %s "$work/btrfs")" = $((root_mib << 20)) ]
  dd if="$work/btrfs" of="$image" bs=1M seek=$((root_at >> 20)) conv=notrunc,sparse status=none
}
