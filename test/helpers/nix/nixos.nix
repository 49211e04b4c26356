# nixosSystem with a demo system instead of NixOS: it uses only the modules' boot loader options and the image's own options.
{
  lib,
  pkgs,
  demo,
}:
let
  base =
    { config, lib, ... }:
    let
      anything = lib.mkOption {
        type = lib.types.anything;
        default = { };
      };
      loader = config.boot.loader;
      systems = (import ../../../vm-images/demo { inputs = demo; }).systems.tiny;
    in
    {
      options = {
        boot = anything;
        fileSystems = anything;
        swapDevices = anything;
        system = anything;
        users = anything;
        image.modules = anything;
      };
      config = {
        boot.loader = {
          timeout = lib.mkDefault 5;
          efi.efiSysMountPoint = lib.mkDefault "/boot";
          systemd-boot.enable = lib.mkDefault false;
          grub = {
            enable = lib.mkDefault false;
            efiSupport = lib.mkDefault false;
            devices = lib.mkDefault [ ];
          };
        };
        system.nixos = {
          version = "25.11.demo";
          versionSuffix = ".demo";
        };
        system.build.toplevel =
          if !loader.grub.enable then
            systems.systemd-boot
          else if loader.grub.efiSupport then
            systems.grub-hybrid
          else
            systems.grub-bios;
      };
    };
  evaluate =
    modules:
    lib.evalModules {
      modules = [ base ] ++ modules;
      specialArgs = {
        inherit pkgs;
        modulesPath = toString ./nixos-modules;
      };
    };
in
{ modules, ... }:
let
  own = evaluate modules;
  images = builtins.mapAttrs (
    _: variant: (evaluate (modules ++ [ variant ])).config.system.build.image
  ) own.config.image.modules;
in
own
// {
  config = own.config // {
    system = own.config.system // {
      build = own.config.system.build // {
        inherit images;
      };
    };
  };
}
