# As in NixOS: what the file of an image is called.
{ lib, config, ... }:
{
  options.image = {
    baseName = lib.mkOption {
      type = lib.types.str;
      default = "nixos-image-${config.system.nixos.version}";
    };
    extension = lib.mkOption { type = lib.types.str; };
  };
}
