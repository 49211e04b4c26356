# Options of the image: make-disk-image's, by their names.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  loader = config.boot.loader;
  nullOr =
    type: description:
    mkOption {
      type = types.nullOr type;
      default = null;
      inherit description;
    };
  flag =
    default: description:
    mkOption {
      type = types.bool;
      inherit default description;
    };
  size =
    default: description:
    mkOption {
      type = types.either types.ints.positive types.str;
      inherit default description;
    };
in
{
  options.nixosDiskImage = {
    partitionTableType = mkOption {
      type = types.enum (builtins.attrNames (import ./layouts.nix));
      default =
        if loader.systemd-boot.enable then
          "efi"
        else if loader.grub.enable && loader.grub.efiSupport then
          if builtins.all (device: device == "nodev") loader.grub.devices then "efi" else "hybrid"
        else
          "legacy";
      defaultText = "the layout that the boot loader of the system is for";
      description = "The layout.";
    };
    diskSize = size "auto" "MiB, a size such as \"20G\", or \"auto\": as large as what is in it and `additionalSpace`.";
    additionalSpace = size "512M" "Free space with `diskSize = \"auto\"`.";
    bootSize = size "256M" "Where the boot partition ends.";
    format = mkOption {
      type = types.enum (builtins.attrNames (import ./formats.nix));
      default = "qcow2";
      description = "The format of the image file.";
    };
    fsType = mkOption {
      type = types.enum (builtins.attrNames (import ./filesystems.nix));
      default = "ext4";
      description = "The root filesystem.";
    };
    label = nullOr types.str "The label of the root filesystem; null: nixos.";
    contents = mkOption {
      type = types.listOf (
        types.submodule {
          options = {
            source = mkOption {
              type = types.path;
              description = "A file or directory.";
            };
            target = mkOption {
              type = types.str;
              description = "Where it goes, from the root.";
            };
            mode = nullOr types.str "Its mode, such as \"755\".";
            user = nullOr types.str "Whose it is, with `group`: a name that has a number in the configuration, or a number.";
            group = nullOr types.str "See `user`.";
          };
        }
      );
      default = [ ];
      description = "Files to put in.";
    };
    configFile = nullOr types.path "Becomes /etc/nixos/configuration.nix.";
    installBootLoader = flag true "Install the boot loader.";
    bootLoader = nullOr (types.enum [
      "grub"
      "systemd-boot"
    ]) "null: the one that the system is configured for.";
    bootLoaderTimeout =
      nullOr (types.either types.ints.unsigned (types.enum [ "none" ]))
        "Seconds that its menu waits, or \"none\"; null: boot.loader.timeout.";
    touchEFIVars = flag false "Keep a store of EFI variables beside the image (efi-vars.fd), with a boot entry.";
    copyChannel = flag false "Have nixpkgs as a channel in the image.";
    additionalPaths = mkOption {
      type = types.listOf (types.either types.package types.str);
      default = [ ];
      description = "More store paths, with their closures.";
    };
    deterministic = flag true "Fixed identifiers of disk, partitions and filesystems.";
    reproducible = nullOr types.bool "The same bytes each time; null: where format and filesystem allow it.";
    rootGPUID = nullOr types.str "GUID of the root partition; null: make-disk-image's.";
    rootFSUID = nullOr types.str "UUID of the root filesystem; null: rootGPUID.";
    postVM = mkOption {
      type = types.lines;
      default = "";
      description = "Shell code, run at the end with the image in `$diskImage`.";
    };
    package = nullOr types.package "nixos-disk-image itself; null: built for the platform that builds.";
  };
}
