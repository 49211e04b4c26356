# A NixOS module that sets system.build.image to a disk image by make-disk-image.nix, and fileSystems to those of its
# layout.
{
  config,
  options,
  lib,
  pkgs,
  modulesPath,
  ...
}:
let
  cfg = config.nixosDiskImage;
  own =
    if cfg.partitions == null then
      null
    else
      import ./partitions.nix {
        inherit lib;
        inherit (cfg) partitions;
      };
  layout = (import ./layouts.nix).${cfg.partitionTableType};
  label = if cfg.label == null then "nixos" else cfg.label;
  # Whether nothing but its default sets an option.
  isDefault = name: options.nixosDiskImage.${name}.highestPrio >= (lib.mkOptionDefault { }).priority;
  # Options about a layout are refused beside partitions, unless they only have their defaults.
  notGiven = lib.optionals (own != null) (builtins.filter isDefault own.replaces);
  # The filesystems as they are found after the initrd has opened an encrypted root.
  opened =
    mounts:
    if cfg.encrypt == null || !(mounts ? "/") then
      mounts
    else
      mounts // { "/" = mounts."/" // { device = "/dev/mapper/${cfg.encrypt.name}"; }; };
  arguments = {
    inherit pkgs lib config;
    inherit (config.image) baseName;
  }
  // lib.filterAttrs (_: value: value != null) (
    builtins.removeAttrs cfg ([ "package" ] ++ notGiven) // { nixos-disk-image = cfg.package; }
  );
  fat = name: {
    device = "/dev/disk/by-label/${name}";
    fsType = "vfat";
  };
in
{
  imports = [
    ./options.nix
    "${modulesPath}/image/file-options.nix"
  ];

  config = {
    image.extension = (import ./formats.nix).${cfg.format}.extension;

    # The filesystems of the layout override those in a host's configuration, except those with mkForce. Mount options are
    # added: of several subvol=, the last one counts.
    fileSystems = lib.mapAttrs (
      _: lib.mapAttrs (name: if name == "options" then lib.mkAfter else lib.mkImageMediaOverride)
    ) (
      opened (
        if own != null then
          own.fileSystems
        else
          {
            "/" = {
              device = "/dev/disk/by-label/${label}";
              inherit (cfg) fsType;
            };
          }
          // lib.optionalAttrs (layout.esp != null) { ${layout.esp} = fat "ESP"; }
          // lib.optionalAttrs (layout.boot != null && layout.boot != layout.esp) { ${layout.boot} = fat "BOOT"; }
      )
    );

    boot.initrd.luks.devices = lib.mkIf (cfg.encrypt != null) {
      ${cfg.encrypt.name}.device = lib.mkImageMediaOverride "/dev/disk/by-uuid/${cfg.encrypt.uuid}";
    };

    swapDevices = lib.mkIf (own != null) (lib.mkImageMediaOverride own.swapDevices);

    system.build.image = import ./make-disk-image.nix arguments;
    # A program that builds the same image, as the user who runs it: with `encrypt` and `secureBoot`, only this can.
    system.build.imageScript = import ./make-disk-image-script.nix arguments;
  };
}
