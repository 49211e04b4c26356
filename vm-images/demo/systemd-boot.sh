# systemd-boot alone, where a systemd has it, so that a system's closure has no more of systemd than it runs.
mkdir -p "$out/lib/systemd/boot/efi"
cp "$userland/usr/lib/systemd/boot/efi/systemd-bootx64.efi" "$out/lib/systemd/boot/efi/"
