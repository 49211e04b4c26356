# Only systemd's EFI programs, at their paths in a systemd package, so that the closure does not contain the rest of systemd.
directory=lib/systemd/boot/efi
mkdir -p "$out/$directory"
for program in "systemd-boot$efi.efi" "linux$efi.efi.stub"; do
  ar -p "$debs"/systemd-boot-efi_*.deb data.tar.xz | tar -xJO "./usr/$directory/$program" > "$out/$directory/$program"
done
