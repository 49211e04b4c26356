# What <nixpkgs> refers to in a user's expression.
{ }: import ../pkgs.nix { inputs = builtins.getEnv "PROGRAMS"; }
