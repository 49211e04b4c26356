# systemd-boot alone, where a systemd has it, so that a system's closure has no more of systemd than it runs.
folder=lib/systemd/boot/efi
mkdir -p "$out/$folder"
ar -p "$debs"/systemd-boot-efi_*.deb data.tar.xz | tar -xJO "./usr/$folder/systemd-boot$efi.efi" > "$out/$folder/systemd-boot$efi.efi"
