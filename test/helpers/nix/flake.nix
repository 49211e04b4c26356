# The input "nixpkgs" of the project's flake: a test writes it to NIXPKGS/flake.nix, with its imports at the same paths as in the project.
{
  outputs =
    { self }:
    let
      pkgs = import ./test/helpers/nix/pkgs.nix { inputs = builtins.getEnv "PROGRAMS"; };
    in
    {
      lib = pkgs.lib // {
        nixosSystem = import ./test/helpers/nix/nixos.nix {
          inherit pkgs;
          inherit (pkgs) lib;
          demo = builtins.getEnv "DEMO";
        };
      };
      legacyPackages = {
        x86_64-linux = pkgs;
        aarch64-linux = pkgs;
      };
    };
}
