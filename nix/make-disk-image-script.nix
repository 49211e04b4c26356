# A program that builds an image outside of Nix, as the user who runs it: for images with secrets, which a derivation cannot
# read. It takes the arguments of make-disk-image.nix, and `encrypt` and `secureBoot`.
#
#   nix-build image-script.nix && ./result/bin/build-image --out images
#
# Further flags are those of `nixos-disk-image build`.
arguments: import ./make-disk-image.nix (arguments // { asScript = true; })
