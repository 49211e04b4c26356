# A toplevel like nixpkgs' system.build.toplevel: all files that booting, activation and boot loader installers use.
mkdir -p "$out/bin"
cd "$out"
ln -s "$linux/$kernel" kernel
ln -s "$linux" kernel-modules
ln -s "$initrd/initrd" initrd
ln -s "$etc" etc
ln -s "$sw" sw
[ -z "$systemd" ] || ln -s "$systemd" systemd
mkdir specialisation
printf '%s\n' "$specialisations" | while read -r name path; do [ -z "$name" ] || ln -s "$path" "specialisation/$name"; done
printf %s "$kernelParams" > kernel-params
printf %s "$version" > nixos-version
printf %s "$platform" > system
printf '25.11' > configuration-name
. "$fill"
fill "$bootJsonPath" boot.json
fill "$stage2" init
fill "$activate" activate
fill "$switchToConfiguration" bin/switch-to-configuration
chmod 755 init activate bin/switch-to-configuration
