# systemd-boot alone, where a systemd has it, so that a system's closure has no more of systemd than it runs.
directory=lib/systemd/boot/efi
mkdir -p "$out/$directory"
ar -p "$debs"/systemd-boot-efi_*.deb data.tar.xz | tar -xJO "./usr/$directory/systemd-boot$efi.efi" > "$out/$directory/systemd-boot$efi.efi"
