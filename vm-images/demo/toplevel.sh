# What nixpkgs' system.build.toplevel has: everything that a boot, an activation and an installer look for.
mkdir -p "$out/bin"
cd "$out"
ln -s "$linux/bzImage" kernel
ln -s "$linux" kernel-modules
ln -s "$initrd/initrd" initrd
ln -s "$etc" etc
ln -s "$sw" sw
[ "$flavour" = tiny ] || ln -s "$sw" systemd
printf %s "$kernelParams" > kernel-params
printf %s "$version" > nixos-version
printf %s "x86_64-linux" > system
printf '25.11' > configuration-name
fill() {
  sed -e "s,@out@,$out,g" -e "s,@busybox@,$busybox,g" -e "s,@etc@,$etc,g" -e "s,@sw@,$sw,g" -e "s,@users@,$users,g" \
    -e "s,@flavour@,$flavour,g" -e "s,@loader@,$loader,g" -e "s,@grubTargets@,$grubTargets,g" -e "s,@esp@,$esp,g" \
    -e "s,@boot@,$boot,g" -e "s,@grubImages@,$grubImages,g" -e "s,@systemdBoot@,$systemdBoot,g" "$1" > "$2"
}
fill "$bootJsonPath" boot.json
fill "$stage2" init
fill "$activate" activate
fill "$switchToConfiguration" bin/switch-to-configuration
chmod 755 init activate bin/switch-to-configuration
