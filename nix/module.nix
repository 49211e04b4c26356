# The image as a variant of a NixOS configuration: system.build.images.nixos-disk-image, beside those that NixOS has.
#
#   nixos-rebuild build-image --image-variant nixos-disk-image --flake .#host
{
  imports = [ ./options.nix ];
  image.modules.nixos-disk-image = ./image.nix;
}
