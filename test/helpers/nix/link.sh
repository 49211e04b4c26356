# A replacement of a nixpkgs package: only the programs of the corresponding packages of the distribution.
set -e
PATH=$programs/bin
mkdir -p "$out/bin"
for package in $packages; do
  ar -p "$debs/$package"_*.deb data.tar.xz | tar -tJ | sed -n 's|^\./\(usr/\)\?s\?bin/\([^/]\+\)$|\2|p' | while read -r name; do
    ln -sf "$programs/bin/$name" "$out/bin/$name"
  done
done
for link in $links; do
  ln -sf "${link#*:}" "$out/bin/${link%%:*}"
done
if [ -n "${hook:-}" ]; then
  mkdir -p "$out/nix-support"
  cp "$hook" "$out/nix-support/setup-hook"
fi
