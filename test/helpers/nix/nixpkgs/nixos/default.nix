# Where somebody's expression says <nixpkgs/nixos>.
{ configuration }:
let
  pkgs = import ../default.nix { };
in
import ../../nixos.nix {
  inherit pkgs;
  inherit (pkgs) lib;
  demo = builtins.getEnv "DEMO";
} { modules = [ configuration ]; }
