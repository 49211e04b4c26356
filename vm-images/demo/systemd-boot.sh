# Only systemd-boot, at its path in a systemd package, so that the closure does not contain the rest of systemd.
directory=lib/systemd/boot/efi
mkdir -p "$out/$directory"
ar -p "$debs"/systemd-boot-efi_*.deb data.tar.xz | tar -xJO "./usr/$directory/systemd-boot$efi.efi" > "$out/$directory/systemd-boot$efi.efi"
