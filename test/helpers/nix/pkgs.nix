# The distribution's packages instead of nixpkgs, which is not available without a network: the attributes that nix/*.nix uses, with
# the same names and meanings. Each package has only its own programs.
{ inputs }:
let
  builders = import ../../../vm-images/demo/builders.nix { inherit inputs; };
  inherit (builders) system run input;
  lib = import ./lib.nix;

  # All required packages of the distribution, merged.
  programs = run "programs" ./unpack.sh {
    inherit (builders) debs;
    node = input "node";
  };
  shell = "${programs}/bin/bash";

  # A replacement of a nixpkgs package.
  linked =
    name:
    {
      packages ? [ name ],
      links ? [ ],
      hook ? "",
    }:
    derivation {
      inherit
        name
        system
        programs
        packages
        links
        hook
        ;
      inherit (builders) debs;
      builder = shell;
      args = [ ./link.sh ];
    };
  package = name: packages: linked name { inherit packages; };

  # A compiler that finds the headers and libraries.
  cc =
    let
      libraries = "${programs}/usr/lib/x86_64-linux-gnu";
      headers = "${programs}/usr/include";
      flags = "--sysroot=${programs} -idirafter ${headers}/x86_64-linux-gnu -idirafter ${headers} -B${libraries} -L${libraries} -Wl,-rpath,${libraries}";
    in
    derivation {
      name = "gcc-wrapper";
      inherit system;
      builder = shell;
      PATH = "${programs}/bin";
      args = [
        "-euc"
        ''
          mkdir -p "$out/bin"
          for name in gcc:gcc g++:g++ cc:gcc c++:g++; do
            printf '%s\n' '#!${shell}' "exec ${programs}/bin/''${name#*:} ${flags} \"\$@\"" > "$out/bin/''${name%:*}"
          done
          for name in ar as ld nm objcopy objdump ranlib readelf strip; do ln -s "${programs}/bin/$name" "$out/bin/$name"; done
          chmod +x "$out/bin/"*
        ''
      ];
    };

  # The programs in every build.
  initialPath = [
    (package "coreutils" [ "coreutils" ])
    (package "findutils" [ "findutils" ])
    (package "diffutils" [ "diffutils" ])
    (linked "gnused" { packages = [ "sed" ]; })
    (linked "gnugrep" { packages = [ "grep" ]; })
    (linked "gawk" {
      packages = [ "gawk" ];
      links = [ "awk:${programs}/bin/gawk" ];
    })
    (linked "gnutar" { packages = [ "tar" ]; })
    (package "gzip" [ "gzip" ])
    (linked "gnumake" { packages = [ "make" ]; })
    (linked "bash" {
      packages = [ "bash" ];
      links = [ "sh:${shell}" ];
    })
  ];

  mkDerivationWith =
    compilers: attributes:
    let
      given = if builtins.isFunction attributes then throw "the stub takes no finalAttrs" else attributes;
      name = given.name or "${given.pname}-${given.version}";
    in
    derivation (
      builtins.removeAttrs given [
        "meta"
        "passthru"
        "pname"
        "version"
      ]
      // {
        inherit name system;
        outputs = given.outputs or [ "out" ];
        builder = shell;
        args = [ ./stdenv.sh ];
        nativeBuildInputs = given.nativeBuildInputs or [ ];
        initialPath = initialPath ++ compilers;
      }
    )
    // {
      inherit name;
      meta = given.meta or { };
      passthru = given.passthru or { };
      overrideAttrs = f: mkDerivationWith compilers (given // f given);
    }
    // lib.optionalAttrs (given ? version) { inherit (given) pname version; }
    // (given.passthru or { });

  stdenv = {
    mkDerivation = mkDerivationWith [ cc ];
    buildPlatform = { inherit system; };
    hostPlatform = { inherit system; };
  };

  nodejs = derivation {
    name = "nodejs";
    inherit system;
    builder = shell;
    PATH = "${programs}/bin";
    args = [
      "-euc"
      ''
        mkdir -p "$out/bin" "$out/lib/node_modules"
        ln -s ${programs}/bin/node "$out/bin/node"
        cp -r ${input "npm"} "$out/lib/node_modules/npm"
        chmod -R u+w "$out/lib"
        grep -rlI '^#!/usr/bin/env ' "$out/lib" | xargs sed -i '1s|^#!/usr/bin/env |#!${programs}/bin/|'
        cp -r ${input "include"} "$out/include"
        printf '%s\n' '#!${shell}' 'exec ${programs}/bin/node '"$out"'/lib/node_modules/npm/bin/npm-cli.js "$@"' > "$out/bin/npm"
        chmod +x "$out/bin/npm"
      ''
    ];
  };

  pkgs = {
    inherit
      lib
      nodejs
      stdenv
      system
      ;
    stdenvNoCC = stdenv // {
      mkDerivation = mkDerivationWith [ ];
    };
    runCommand =
      name: attributes: buildCommand:
      mkDerivationWith [ ] (
        attributes
        // {
          inherit name buildCommand;
          passAsFile = [ "buildCommand" ] ++ attributes.passAsFile or [ ];
        }
      );
    callPackage =
      file: arguments:
      let
        function = if builtins.isFunction file then file else import file;
      in
      function (builtins.intersectAttrs (builtins.functionArgs function) pkgs // arguments);
    buildPackages = pkgs;
    mkShell =
      {
        packages ? [ ],
        inputsFrom ? [ ],
      }:
      mkDerivationWith [ cc ] {
        name = "nix-shell";
        nativeBuildInputs = packages ++ lib.concatMap (one: one.nativeBuildInputs) inputsFrom;
      };
    nixfmt-tree = package "nixfmt-tree" [ ];
    runtimeShell = shell;
    path = ./.;
    OVMF.fd.variables = "${programs}/usr/share/OVMF/OVMF_VARS_4M.fd";
    testers.testVersion =
      { package }:
      pkgs.runCommand "${package.name}-test-version" { nativeBuildInputs = [ package ]; } ''
        ${package.meta.mainProgram} --version | grep -F ${package.version} > "$out"
      '';

    # As in nixpkgs: Nix passes a closure to a derivation, in the format that nix-store --load-db reads.
    closureInfo =
      { rootPaths }:
      derivation {
        name = "closure-info";
        inherit system;
        builder = "${nodejs}/bin/node";
        args = [ ./closure-info.mjs ];
        __structuredAttrs = true;
        exportReferencesGraph.closure = rootPaths;
      };

    attr = package "attr" [ "attr" ];
    btrfs-progs = package "btrfs-progs" [ "btrfs-progs" ];
    cacert = package "cacert" [ ];
    coreutils = package "coreutils" [ "coreutils" ];
    dosfstools = package "dosfstools" [ "dosfstools" ];
    e2fsprogs = package "e2fsprogs" [ "e2fsprogs" ];
    f2fs-tools = package "f2fs-tools" [ "f2fs-tools" ];
    erofs-utils = package "erofs-utils" [ "erofs-utils" ];
    squashfsTools = package "squashfs-tools" [ "squashfs-tools" ];
    libfaketime = package "libfaketime" [ "faketime" ];
    sbsigntool = package "sbsigntool" [ "sbsigntool" ];
    efitools = package "efitools" [ "efitools" ];
    openssl = package "openssl" [ "openssl" ];
    cryptsetup = package "cryptsetup" [ "cryptsetup-bin" ];
    zstd = package "zstd" [ "zstd" ];
    xz = package "xz" [ "xz-utils" ];
    fakeroot = linked "fakeroot" {
      packages = [ "fakeroot" ];
      links = [ "fakeroot:${programs}/bin/fakeroot-sysv" ];
    };
    findutils = package "findutils" [ "findutils" ];
    grub2 = package "grub2" [ "grub-common" ];
    grub2_efi = package "grub2_efi" [ "grub-common" ];
    installShellFiles = linked "install-shell-files" {
      packages = [ ];
      hook = ./install-shell-files.sh;
    };
    makeWrapper = linked "make-wrapper" {
      packages = [ ];
      hook = ./make-wrapper.sh;
    };
    mtools = package "mtools" [ "mtools" ];
    nix = package "nix" [ "nix-bin" ];
    parted = package "parted" [ "parted" ];
    python3 = linked "python3" {
      packages = [ ];
      links = [ "python3:${programs}/bin/python3" ];
    };
    qemu = package "qemu" [
      "qemu-system-x86"
      "qemu-utils"
    ];
    qemu-utils = package "qemu-utils" [ "qemu-utils" ];
    rsync = package "rsync" [ "rsync" ];
    sqlite = package "sqlite" [ "sqlite3" ];
    util-linux = package "util-linux" [
      "util-linux"
      "fdisk"
      "mount"
    ];
    xfsprogs = package "xfsprogs" [ "xfsprogs" ];
  };
in
pkgs
