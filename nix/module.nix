# Adds the image as a variant to a NixOS configuration: system.build.images.nixos-disk-image.
#
#   nixos-rebuild build-image --image-variant nixos-disk-image --flake .#host
{
  imports = [ ./options.nix ];
  image.modules.nixos-disk-image = ./image.nix;
}
