mkdir -p "$out"
ar -p "$debs"/grub-common_*.deb data.tar.xz | tar -xJO ./usr/share/grub/unicode.pf2 > "$out/unicode.pf2"
