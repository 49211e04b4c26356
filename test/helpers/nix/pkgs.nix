# The distribution's packages in the place of nixpkgs, which cannot be had without a network: what nix/*.nix takes of it.
# Attributes have nixpkgs' names and mean the same.
{ inputs }:
let
  builders = import ../../../vm-images/demo/builders.nix { inherit inputs; };
  inherit (builders) system run input;

  # Every program of the distribution's that is asked for.
  programs = run "programs" ./unpack.sh {
    inherit (builders) debs;
    node = input "node";
  };
  shell = "${programs}/bin/bash";

  # A compiler that finds headers and libraries where they are.
  cc =
    let
      libraries = "${programs}/usr/lib/x86_64-linux-gnu";
      headers = "${programs}/usr/include";
      flags = "--sysroot=${programs} -idirafter ${headers}/x86_64-linux-gnu -idirafter ${headers} -B${libraries} -L${libraries} -Wl,-rpath,${libraries}";
    in
    runCommand "cc" { } ''
      mkdir -p "$out/bin"
      for name in gcc:gcc g++:g++ cc:gcc c++:g++; do
        printf '%s\n' '#!${shell}' "exec ${programs}/bin/''${name#*:} ${flags} \"\$@\"" > "$out/bin/''${name%:*}"
      done
      chmod +x "$out/bin/"*
    '';

  nodejs = runCommand "nodejs" { } ''
    mkdir -p "$out/bin" "$out/lib/node_modules"
    ln -s ${programs}/bin/node "$out/bin/node"
    cp -r ${input "npm"} "$out/lib/node_modules/npm"
    chmod -R u+w "$out/lib"
    grep -rlI '^#!/usr/bin/env ' "$out/lib" | xargs sed -i '1s|^#!/usr/bin/env |#!${programs}/bin/|'
    cp -r ${input "include"} "$out/include"
    printf '%s\n' '#!${shell}' 'exec ${programs}/bin/node '"$out"'/lib/node_modules/npm/bin/npm-cli.js "$@"' > "$out/bin/npm"
    chmod +x "$out/bin/npm"
  '';

  runCommand =
    name: attributes: buildCommand:
    derivation (
      {
        inherit name system buildCommand;
        builder = shell;
        args = [
          "-euc"
          ". \"$buildCommandPath\""
        ];
        passAsFile = [ "buildCommand" ];
      }
      // builtins.removeAttrs attributes [
        "nativeBuildInputs"
        "passthru"
        "meta"
      ]
      // {
        PATH = lib.makeBinPath ((attributes.nativeBuildInputs or [ ]) ++ [ programs ]);
      }
    )
    // (attributes.passthru or { });

  lib = {
    cleanSource = path: path;
    filterAttrs =
      keep: set:
      builtins.listToAttrs (
        map (name: {
          inherit name;
          value = set.${name};
        }) (builtins.filter (name: keep name set.${name}) (builtins.attrNames set))
      );
    importJSON = file: builtins.fromJSON (builtins.readFile file);
    licenses.mit = { };
    makeBinPath = packages: builtins.concatStringsSep ":" (map (package: "${package}/bin") packages);
    optional = condition: value: if condition then [ value ] else [ ];
    platforms.linux = [ system ];
  };

  pkgs = {
    inherit lib nodejs runCommand;
    runCommandCC =
      name: attributes:
      runCommand name (attributes // { nativeBuildInputs = [ cc ] ++ (attributes.nativeBuildInputs or [ ]); });
    buildPackages = pkgs;
    runtimeShell = shell;
    stdenv.buildPlatform = { inherit system; };
    path = ./.;
    OVMF.fd.variables = "${programs}/usr/share/OVMF/OVMF_VARS_4M.fd";
    cacert = programs;

    # As nixpkgs': what Nix tells a derivation of a closure, as nix-store --load-db reads it.
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
  }
  // builtins.listToAttrs (
    map
      (name: {
        inherit name;
        value = programs;
      })
      [
        "attr"
        "btrfs-progs"
        "coreutils"
        "dosfstools"
        "e2fsprogs"
        "f2fs-tools"
        "fakeroot"
        "findutils"
        "grub2"
        "grub2_efi"
        "mtools"
        "nix"
        "parted"
        "python3"
        "qemu-utils"
        "rsync"
        "sqlite"
        "util-linux"
        "xfsprogs"
      ]
  );
in
pkgs
