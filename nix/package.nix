# The tool as a package of nixpkgs', from this checkout: bin/nixos-disk-image, which finds the programs that it runs.
#
#   nix-build -E 'import ./nix/package.nix { pkgs = import <nixpkgs> { }; }'
{ pkgs }:
let
  inherit (pkgs) lib;
  inherit (lib.importJSON ../package.json) version;

  # Of a checkout, what the build reads: each by itself, so that nothing else has it built again.
  copySources = builtins.concatStringsSep "\n" (
    map
      (
        name:
        "cp -r --no-preserve=mode ${
          builtins.path {
            inherit name;
            path = ../. + "/${name}";
          }
        } ${name}"
      )
      [
        "LICENSE"
        "cli"
        "harness"
        "lib"
        "package-lock.json"
        "package.json"
        "tsconfig.json"
        "vm-images"
      ]
  );

  # What `npm ci` installs, for any platform: without packages that are built for one.
  nodeModules =
    pkgs.runCommand "nixos-disk-image-node-modules"
      {
        nativeBuildInputs = [
          pkgs.nodejs
          pkgs.cacert
        ];
        outputHashAlgo = "sha256";
        outputHashMode = "recursive";
        # test/vm/nix holds it against package-lock.json.
        outputHash = "sha256-MmGg3vCqb+Wn2+U64EYSrpX9sxYbwZpQbwyWkKwpwec=";
      }
      ''
        cp ${../package.json} package.json
        cp ${../package-lock.json} package-lock.json
        export HOME="$NIX_BUILD_TOP"
        npm ci --ignore-scripts --omit=optional --no-audit --no-fund
        rm node_modules/.package-lock.json
        mv node_modules "$out"
      '';

  # In the order of lib/run/tools.ts.
  tools = with pkgs; [
    rsync
    attr
    nix
    sqlite
    parted
    util-linux
    e2fsprogs
    mtools
    grub2
    grub2_efi
    btrfs-progs
    xfsprogs
    f2fs-tools
    fakeroot
    dosfstools
    findutils
    qemu-utils
    coreutils
  ];
in
pkgs.runCommandCC "nixos-disk-image-${version}"
  {
    nativeBuildInputs = [
      pkgs.nodejs
      pkgs.python3
    ];
    passthru = { inherit nodeModules; };
    meta = {
      description = "Builds NixOS disk images and proves that they boot";
      license = lib.licenses.mit;
      mainProgram = "nixos-disk-image";
      platforms = lib.platforms.linux;
    };
  }
  ''
    export HOME="$NIX_BUILD_TOP"
    mkdir package
    cd package
    ${copySources}
    cp -r ${nodeModules} node_modules
    chmod -R u+w node_modules
    node node_modules/typescript/bin/tsc
    node dist/cli/manual.js
    npm_config_nodedir=${pkgs.nodejs} npm rebuild node-pty --ignore-scripts=false --offline
    npm prune --omit=dev --omit=optional --ignore-scripts --offline --no-audit --no-fund

    library="$out/lib/node_modules/nixos-disk-image"
    mkdir -p "$library" "$out/bin"
    cp -r LICENSE package.json dist vm-images node_modules "$library"
    install -D -m 644 dist/nixos-disk-image.1 "$out/share/man/man1/nixos-disk-image.1"
    cat > "$out/bin/nixos-disk-image" <<EOF
    #!${pkgs.runtimeShell}
    PATH=${lib.makeBinPath tools}\''${PATH:+:\$PATH} exec ${pkgs.nodejs}/bin/node $library/dist/cli/main.js "\$@"
    EOF
    chmod +x "$out/bin/nixos-disk-image"
  ''
