# The initrd: busybox, the modules, and stage 1. It is reproducible.
root=$NIX_BUILD_TOP/root
libraries=$userland/usr/lib/x86_64-linux-gnu
loader=$libraries/ld-linux-x86-64.so.2
mkdir -p "$root/bin" "$root/etc" "$root/lib" "$out"
printf '%s' "$earlyMounts" > "$root/etc/fstab"
cp "$busybox/bin/busybox" "$root/bin/busybox"
cp -r "$linux/lib/modules" "$root/lib/modules"
sed -e "s|@modules@|$modules|g" -e "s|@luksName@|$luksName|g" -e "s|@luksDevice@|$luksDevice|g" "$stage1" > "$root/init"
if [ -n "$luksName" ]; then
  mkdir -p "$root/lib64" "$root/lib/x86_64-linux-gnu"
  cp "$userland/usr/sbin/cryptsetup" "$root/bin/"
  cp -L "$loader" "$root/lib64/"
  "$loader" --library-path "$libraries" --list "$userland/usr/sbin/cryptsetup" | sed -n 's|.*=> \(/[^ ]*\) .*|\1|p' |
    while read -r library; do cp -L "$library" "$root/lib/x86_64-linux-gnu/"; done
  # glibc opens it when a thread ends, which argon2 has.
  cp -L "$libraries/libgcc_s.so.1" "$root/lib/x86_64-linux-gnu/"
fi
chmod -R u+w,go-w "$root"
chmod 755 "$root/init" "$root/bin/busybox"
cd "$root"
find . -exec touch -h -d @1 {} +
find . | sort | "$loader" --library-path "$libraries" "$userland/usr/bin/cpio" \
  --create --format=newc --owner=0:0 --reproducible --quiet | gzip -9 -n > "$out/initrd"
