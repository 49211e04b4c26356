# systemd-boot alone, so that a system's closure has no more of systemd than it runs.
mkdir -p "$out"
cp "$userland/usr/lib/systemd/boot/efi/systemd-bootx64.efi" "$out/"
