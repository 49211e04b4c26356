# An image of a demo system, built with nix/make-disk-image.nix as in a user's expression.
#
#   nix-build --argstr programs DIR --argstr demo DIR --argstr system grub-hybrid --arg arguments '{ format = "qcow2"; }'
{
  programs,
  demo,
  flavour,
  variant,
  arguments ? { },
}:
let
  pkgs = import ./pkgs.nix { inputs = programs; };
  systems = (import ../../../vm-images/demo { inputs = demo; }).systems;
in
import ../../../nix/make-disk-image.nix (
  {
    inherit pkgs;
    inherit (pkgs) lib;
    config.system = {
      build.toplevel = systems.${flavour}.${variant};
      nixos = {
        version = "25.11.demo";
        versionSuffix = ".demo";
      };
    };
  }
  // arguments
)
