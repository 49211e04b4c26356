# systemd's EFI programs alone, where a systemd has them, so that a system's closure has no more of systemd than it runs.
directory=lib/systemd/boot/efi
mkdir -p "$out/$directory"
for program in "systemd-boot$efi.efi" "linux$efi.efi.stub"; do
  ar -p "$debs"/systemd-boot-efi_*.deb data.tar.xz | tar -xJO "./usr/$directory/$program" > "$out/$directory/$program"
done
