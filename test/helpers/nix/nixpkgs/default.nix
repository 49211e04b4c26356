# Where somebody's expression says <nixpkgs>.
{ }: import ../pkgs.nix { inputs = builtins.getEnv "PROGRAMS"; }
