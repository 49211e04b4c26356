# A NixOS module that sets system.build.image to a disk image by make-disk-image.nix, and fileSystems to those of its
# layout.
{
  config,
  lib,
  pkgs,
  modulesPath,
  ...
}:
let
  cfg = config.nixosDiskImage;
  layout = (import ./layouts.nix).${cfg.partitionTableType};
  label = if cfg.label == null then "nixos" else cfg.label;
  fat = name: {
    device = lib.mkImageMediaOverride "/dev/disk/by-label/${name}";
    fsType = lib.mkImageMediaOverride "vfat";
  };
in
{
  imports = [
    ./options.nix
    "${modulesPath}/image/file-options.nix"
  ];

  config = {
    image.extension = (import ./formats.nix).${cfg.format}.extension;

    # The filesystems of the layout override those in a host's configuration, except those with mkForce.
    fileSystems = {
      "/" = {
        device = lib.mkImageMediaOverride "/dev/disk/by-label/${label}";
        fsType = lib.mkImageMediaOverride cfg.fsType;
      };
    }
    // lib.optionalAttrs (layout.esp != null) { ${layout.esp} = fat "ESP"; }
    // lib.optionalAttrs (layout.boot != null && layout.boot != layout.esp) { ${layout.boot} = fat "BOOT"; };

    system.build.image = import ./make-disk-image.nix (
      {
        inherit pkgs lib config;
        inherit (config.image) baseName;
      }
      // lib.filterAttrs (_: value: value != null) (
        builtins.removeAttrs cfg [ "package" ] // { nixos-disk-image = cfg.package; }
      )
    );
  };
}
