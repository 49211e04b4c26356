# The initrd: busybox, the modules, and stage 1. It is reproducible.
root=$NIX_BUILD_TOP/root
mkdir -p "$root/bin" "$root/lib" "$out"
cp "$busybox/bin/busybox" "$root/bin/busybox"
cp -r "$linux/lib/modules" "$root/lib/modules"
cp "$stage1" "$root/init"
chmod -R u+w,go-w "$root"
chmod 755 "$root/init" "$root/bin/busybox"
cd "$root"
find . -exec touch -h -d @1 {} +
libraries=$userland/usr/lib/x86_64-linux-gnu
find . | sort | "$libraries/ld-linux-x86-64.so.2" --library-path "$libraries" "$userland/usr/bin/cpio" \
  --create --format=newc --owner=0:0 --reproducible --quiet | gzip -9 -n > "$out/initrd"
