# Merges the packages into one /usr, whose programs find their libraries in it, as in a Nix store.
mkdir -p "$out"
cd "$out"
for directory in bin sbin lib lib64; do
  mkdir -p "usr/$directory"
  ln -s "usr/$directory" "$directory"
done
for deb in "$debs"/*.deb; do
  case ${deb##*/} in linux-image-*) continue ;; esac
  ar -p "$deb" data.tar.xz | tar -xJ -o --no-same-permissions
done
cp "$node/node" usr/bin/node
rm -rf usr/share/doc usr/share/man usr/share/info usr/share/locale
# Firmware descriptors contain the path of the firmware.
sed -i "s|/usr/share|$out/usr/share|g" usr/share/qemu/firmware/*.json
# Maintainer scripts would create these alternatives.
ln -sf bash usr/bin/sh
ln -sf gawk usr/bin/awk
for program in gcc g++; do [ -e "usr/bin/$program" ] || ln -s "x86_64-linux-gnu-$program" "usr/bin/$program"; done

libraries=$out/usr/lib/x86_64-linux-gnu
loader=$libraries/ld-linux-x86-64.so.2
ln -sf ../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 usr/lib64/ld-linux-x86-64.so.2
cp usr/bin/patchelf "$NIX_BUILD_TOP/patchelf"
patchelf() { "$loader" --library-path "$libraries" "$NIX_BUILD_TOP/patchelf" "$@"; }
chmod -R u+w usr
# Not the C library, which is executable too but in use.
find usr -type f -perm /111 ! -name '*.so*' | while read -r file; do
  if patchelf --print-interpreter "$file" > "$NIX_BUILD_TOP/interpreter" 2> "$NIX_BUILD_TOP/not-elf"; then
    patchelf --set-interpreter "$loader" --force-rpath --set-rpath "$libraries:$out/usr/lib/nix" "$file"
  fi
done
# By default, the libraries of Nix find only each other.
for file in usr/lib/nix/*.so; do patchelf --force-rpath --set-rpath "$libraries:$out/usr/lib/nix" "$file"; done

# One directory of programs, as in a nixpkgs package.
rm bin
mkdir bin
for program in usr/sbin/* usr/bin/*; do ln -sf "../$program" "bin/${program##*/}"; done
# The C library does not find its character sets here by itself, and mtools needs them.
for program in usr/bin/*; do
  [ "$(readlink "$program")" = mtools ] || continue
  name=bin/${program##*/}
  rm "$name"
  printf '%s\n' "#!$out/bin/bash" "GCONV_PATH=$libraries/gconv exec $out/$program \"\$@\"" > "$name"
  chmod +x "$name"
done
