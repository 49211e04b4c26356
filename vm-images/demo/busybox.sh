# busybox for another architecture. The names of its applets come from the busybox that runs here, which has the same
# version.
mkdir -p "$out/bin"
ar -p "$debs"/busybox-static_*.deb data.tar.xz | tar -xJO ./bin/busybox > "$out/bin/busybox"
chmod 755 "$out/bin/busybox"
busybox --list | while read -r applet; do
  [ "$applet" = busybox ] || ln -s busybox "$out/bin/$applet"
done
