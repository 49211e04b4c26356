{
  description = "NixOS disk images, built without a VM and proven to boot";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      forAllSystems =
        f:
        lib.genAttrs [
          "x86_64-linux"
          "aarch64-linux"
        ] (system: f nixpkgs.legacyPackages.${system});
    in
    {
      packages = forAllSystems (pkgs: rec {
        nixos-disk-image = pkgs.callPackage ./nix/package.nix { };
        default = nixos-disk-image;
      });

      apps = forAllSystems (
        pkgs:
        let
          package = self.packages.${pkgs.stdenv.hostPlatform.system}.default;
        in
        {
          default = {
            type = "app";
            program = lib.getExe package;
            meta = { inherit (package.meta) description; };
          };
        }
      );

      overlays.default = final: _: { nixos-disk-image = final.callPackage ./nix/package.nix { }; };

      lib = {
        # nixpkgs' make-disk-image, without a VM.
        makeDiskImage = import ./nix/make-disk-image.nix;
        # The same as a program, for images with secrets.
        makeDiskImageScript = import ./nix/make-disk-image-script.nix;
        # A derivation that boots an image and keeps the report.
        verifyBoot = import ./nix/verify-boot.nix;
      };

      nixosModules = {
        # Options nixosDiskImage.*, and the image variant: system.build.images.nixos-disk-image, which is what
        # `nixos-rebuild build-image --image-variant nixos-disk-image` builds.
        default = ./nix/module.nix;
        # The same as the system's only image: system.build.image.
        image = ./nix/image.nix;
      };

      checks = forAllSystems (
        pkgs:
        let
          inherit (pkgs.stdenv.hostPlatform) system;
          example = lib.nixosSystem {
            inherit system;
            modules = [
              ./nix/module.nix
              ./nix/example.nix
            ];
          };
        in
        {
          package = self.packages.${system}.default;
          inherit (self.packages.${system}.default.tests) version;
          boot = self.lib.verifyBoot {
            inherit pkgs;
            image = example.config.system.build.images.nixos-disk-image;
          };
        }
      );

      formatter = forAllSystems (pkgs: pkgs.nixfmt-tree);

      devShells = forAllSystems (pkgs: {
        default = pkgs.mkShell {
          inputsFrom = [ self.packages.${pkgs.stdenv.hostPlatform.system}.default ];
          packages = [
            pkgs.qemu
            self.packages.${pkgs.stdenv.hostPlatform.system}.default
          ];
        };
      });
    };
}
