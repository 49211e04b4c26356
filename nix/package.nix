# The package, for nixpkgs' callPackage:
#
#   nix-build -E 'with import <nixpkgs> { }; callPackage ./nix/package.nix { }'
#
# buildNpmPackage cannot be used: it fetches packages from the URLs in package-lock.json, and this project's lock file
# has none.
{
  lib,
  stdenv,
  nodejs,
  cacert,
  makeWrapper,
  installShellFiles,
  python3,
  testers,
  # The programs that it runs, in the order of lib/run/tools.ts.
  rsync,
  attr,
  nix,
  sqlite,
  parted,
  util-linux,
  e2fsprogs,
  mtools,
  grub2,
  grub2_efi,
  btrfs-progs,
  xfsprogs,
  f2fs-tools,
  erofs-utils,
  squashfsTools,
  fakeroot,
  libfaketime,
  sbsigntool,
  efitools,
  openssl,
  cryptsetup,
  zstd,
  xz,
  dosfstools,
  findutils,
  qemu-utils,
  coreutils,
}:
let
  manifest = lib.importJSON ../package.json;

  # The result of `npm ci`, without optional packages, which are built for one platform.
  nodeModules = stdenv.mkDerivation {
    name = "nixos-disk-image-node-modules";
    src = lib.fileset.toSource {
      root = ../.;
      fileset = lib.fileset.unions [
        ../package.json
        ../package-lock.json
      ];
    };
    nativeBuildInputs = [
      nodejs
      cacert
    ];
    dontConfigure = true;
    buildPhase = ''
      export HOME="$NIX_BUILD_TOP"
      npm ci --ignore-scripts --omit=optional --no-audit --no-fund
    '';
    installPhase = ''
      rm node_modules/.package-lock.json
      mv node_modules "$out"
    '';
    dontFixup = true;
    outputHashAlgo = "sha256";
    outputHashMode = "recursive";
    # test/vm/nix compares it with package-lock.json.
    outputHash = "sha256-JduJyeRyaNh46YoaQZOx7YJqATkLKPfagdVMkR82fYE=";
  };

  tools = [
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
    erofs-utils
    squashfsTools
    fakeroot
    libfaketime
    sbsigntool
    efitools
    openssl
    cryptsetup
    zstd
    xz
    dosfstools
    findutils
    qemu-utils
    coreutils
  ];

  package = stdenv.mkDerivation {
    pname = "nixos-disk-image";
    inherit (manifest) version;

    src = lib.fileset.toSource {
      root = ../.;
      fileset = lib.fileset.unions [
        ../LICENSE
        ../cli
        ../harness
        ../lib
        ../package-lock.json
        ../package.json
        ../tsconfig.json
        ../vm-images
      ];
    };

    nativeBuildInputs = [
      nodejs
      makeWrapper
      installShellFiles
      python3
    ];

    configurePhase = ''
      runHook preConfigure
      export HOME="$NIX_BUILD_TOP"
      cp -r ${nodeModules} node_modules
      chmod -R u+w node_modules
      runHook postConfigure
    '';

    buildPhase = ''
      runHook preBuild
      node node_modules/typescript/bin/tsc
      cp harness/report/page/style.css harness/report/page/browser.js dist/harness/report/page/
      node dist/cli/manual.js
      npm_config_nodedir=${nodejs} npm rebuild node-pty --ignore-scripts=false --offline
      npm prune --omit=dev --omit=optional --ignore-scripts --offline --no-audit --no-fund
      runHook postBuild
    '';

    installPhase = ''
      runHook preInstall
      library="$out/lib/node_modules/nixos-disk-image"
      mkdir -p "$library" "$out/bin"
      cp -r LICENSE package.json dist vm-images node_modules "$library"
      makeWrapper ${nodejs}/bin/node "$out/bin/nixos-disk-image" \
        --add-flags "$library/dist/cli/main.js" \
        --prefix PATH : ${lib.makeBinPath tools}
      installManPage dist/nixos-disk-image.1
      installShellCompletion --cmd nixos-disk-image \
        --bash <(node dist/cli/main.js completion bash) \
        --zsh <(node dist/cli/main.js completion zsh) \
        --fish <(node dist/cli/main.js completion fish)
      runHook postInstall
    '';

    passthru = {
      inherit nodeModules;
      tests.version = testers.testVersion { inherit package; };
    };

    meta = {
      inherit (manifest) description;
      license = lib.licenses.mit;
      mainProgram = "nixos-disk-image";
      platforms = lib.platforms.linux;
    };
  };
in
package
