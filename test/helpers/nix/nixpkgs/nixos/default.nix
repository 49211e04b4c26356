# What <nixpkgs/nixos> refers to in a user's expression.
{ configuration }:
let
  pkgs = import ../default.nix { };
in
import ../../nixos.nix {
  inherit pkgs;
  inherit (pkgs) lib;
  demo = builtins.getEnv "DEMO";
} { modules = [ configuration ]; }
