# Builds the image in a derivation: the specification is a file that Nix makes.
export HOME="$NIX_BUILD_TOP"
nixos-disk-image build --out "$out" "$specificationPath" < /dev/null
# Where Hydra offers it for download.
mkdir -p "$out/nix-support"
echo "file $format-image $out/$filename" > "$out/nix-support/hydra-build-products"
diskImage=$out/$filename
. "$postVMPath"
