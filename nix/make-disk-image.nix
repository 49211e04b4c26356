# A replacement for nixpkgs' make-disk-image that uses this tool: it takes the same arguments, but needs no VM, no KVM
# and no requiredSystemFeatures, so that any builder can build it. The image is reproducible if its filesystem and
# format allow it.
#
#   import ./nix/make-disk-image.nix { inherit pkgs lib config; format = "qcow2"; partitionTableType = "efi"; }
#
# docs/make-disk-image.md describes all arguments, and the differences.
args@{
  pkgs,
  lib,
  config,
  diskSize ? "auto",
  # Beyond the contents; with minimize, for what the first boot writes.
  additionalSpace ? if minimize then "32M" else "512M",
  bootSize ? "256M",
  contents ? [ ],
  partitionTableType ? "legacy",
  installBootLoader ? true,
  touchEFIVars ? false,
  OVMF ? pkgs.OVMF.fd,
  # Accepted but ignored, because no machine is started.
  efiFirmware ? null,
  efiVariables ? OVMF.variables,
  fsType ? if partitions == null then "ext4" else (import ./partitions.nix { inherit lib partitions; }).fsType,
  label ?
    if partitions != null then
      (import ./partitions.nix { inherit lib partitions; }).label
    else if onlyNixStore then
      "nix-store"
    else
      "nixos",
  configFile ? null,
  # Shell code that runs at the end, with the path of the image in $diskImage.
  postVM ? "",
  # Accepted but ignored, like efiFirmware.
  memSize ? 1024,
  onlyNixStore ? false,
  name ? "nixos-disk-image",
  baseName ? "nixos",
  format ? "raw",
  deterministic ? true,
  # Whether `nix-build --check` gives the same image.
  reproducible ?
    deterministic
    && encrypt == null
    && fsType == "ext4"
    && (partitions == null || (import ./partitions.nix { inherit lib partitions; }).isReproducible)
    && (import ./formats.nix).${format}.isReproducible or true,
  rootGPUID ? "F222513B-DED1-49FA-B591-20CE86A2FE7F",
  rootFSUID ? rootGPUID,
  rootFSHashSeed ? rootFSUID,
  # "cptofs" is accepted, but has the same effect as "mke2fs".
  populateRootWith ? "mke2fs",
  copyChannel ? partitions == null || (import ./partitions.nix { inherit lib partitions; }).isRootOnDisk,
  additionalPaths ? [ ],

  # Arguments that nixpkgs' make-disk-image does not have.

  # "grub" or "systemd-boot"; null: the one that the system is configured for.
  bootLoader ? null,
  # In seconds, or "none"; null: as the system is configured. The same applies to the next three.
  bootLoaderTimeout ? null,
  editor ? null,
  consoleMode ? null,
  timeoutStyle ? null,
  # Own partitions instead of a layout, in their order on the disk: docs/layouts.md describes them. null: partitionTableType.
  partitions ? null,
  # The disk's sectors, in bytes: 512 or 4096; 4096 only with partitionTableType "efi".
  sectorSize ? 512,
  # The size of the disk is rounded up to a multiple of the first, such as "1G", and may not exceed the second.
  sizeMultiple ? null,
  maxSize ? null,
  # Whether the root filesystem is made as small as its content allows.
  minimize ? false,
  # Secrets: files outside of the store, as in the tool's specification. Only for make-disk-image-script.nix, because a
  # derivation cannot read them: docs/nix.md.
  encrypt ? null,
  secureBoot ? null,
  # Set by make-disk-image-script.nix.
  asScript ? false,
  meta ? { },
  # This tool, for the build platform.
  nixos-disk-image ? pkgs.buildPackages.callPackage ./package.nix { },
}:
let
  inherit (config.system.build) toplevel;
  inherit (pkgs) buildPackages;

  own = if partitions == null then null else import ./partitions.nix { inherit lib partitions; };

  replaced = if own == null then [ ] else own.replaces;
  besidePartitions = builtins.filter (name: args ? ${name}) replaced;

  problems = import ./assertions.nix {
    inherit besidePartitions;
    besideRandom = builtins.filter (name: !deterministic && args.${name} or null != null) fixed;
    inherit
      lib
      config
      asScript
      encrypt
      postVM
      secureBoot
      additionalSpace
      bootLoader
      bootLoaderTimeout
      bootSize
      configFile
      consoleMode
      contents
      copyChannel
      deterministic
      diskSize
      editor
      format
      fsType
      installBootLoader
      label
      maxSize
      minimize
      onlyNixStore
      own
      partitionTableType
      populateRootWith
      reproducible
      rootFSUID
      sectorSize
      sizeMultiple
      timeoutStyle
      touchEFIVars
      ;
  };

  # The same output as nixpkgs' make-channel, as `nix-channel --update` would install it: a directory "nixos" with the
  # sources and their version.
  channel = pkgs.runCommand "nixos-${config.system.nixos.version}" { } ''
    mkdir -p "$out"
    cp -prd ${lib.cleanSource pkgs.path} "$out/nixos"
    chmod -R u+w "$out/nixos"
    [ -e "$out/nixos/nixpkgs" ] || ln -s . "$out/nixos/nixpkgs"
    rm -rf "$out/nixos/.git"
    printf %s ${lib.escapeShellArg config.system.nixos.versionSuffix} > "$out/nixos/.version-suffix"
  '';

  closureInfo = pkgs.closureInfo {
    rootPaths = [ toplevel ] ++ lib.optional copyChannel channel ++ additionalPaths;
  };

  # Without what is null in a module.
  isSet = _: value: value != null && value != [ ];
  given = map withoutNull partitions;
  withoutNull =
    value:
    if builtins.isAttrs value then
      builtins.mapAttrs (_: withoutNull) (lib.filterAttrs isSet value)
    else if builtins.isList value then
      map withoutNull value
    else
      value;

  # Identifiers that are fixed only with `deterministic`.
  fixed = [
    "rootGPUID"
    "rootFSUID"
    "rootFSHashSeed"
  ];
  isLeftOut = name: builtins.elem name replaced || (!deterministic && builtins.elem name fixed);

  specification = lib.filterAttrs (name: value: value != null && !(isLeftOut name)) {
    partitions = if partitions == null then null else given;
    inherit
      additionalSpace
      bootSize
      partitionTableType
      installBootLoader
      bootLoader
      bootLoaderTimeout
      editor
      consoleMode
      timeoutStyle
      touchEFIVars
      onlyNixStore
      fsType
      label
      configFile
      name
      baseName
      format
      deterministic
      reproducible
      rootGPUID
      rootFSUID
      rootFSHashSeed
      memSize
      sectorSize
      sizeMultiple
      maxSize
      minimize
      ;
    encrypt = withoutNull encrypt;
    secureBoot = withoutNull secureBoot;
    # The proxmox-image module passes a string.
    diskSize =
      if builtins.isString diskSize && builtins.match "[0-9]+" diskSize != null then
        lib.toIntBase10 diskSize
      else
        diskSize;
    toplevel = "${toplevel}";
    closureInfo = "${closureInfo}";
    channel = if copyChannel then "${channel}" else null;
    contents = map (lib.filterAttrs (_: value: value != null)) contents;
    bootLoaderFrom = "bootspec";
    efiVariables = if touchEFIVars then "${efiVariables}" else null;
  };

  formats = import ./formats.nix;
  filename = "${baseName}.${formats.${format}.extension}";

  script =
    pkgs.runCommand name
      {
        specification = builtins.toJSON specification;
        passAsFile = [ "specification" ];
        passthru = { inherit filename; };
        meta = meta // {
          mainProgram = "build-image";
        };
      }
      ''
        mkdir -p "$out/bin" "$out/share"
        cp "$specificationPath" "$out/share/image.json"
        printf '#!%s\nexec %s build %s "$@"\n' \
          ${pkgs.runtimeShell} ${nixos-disk-image}/bin/nixos-disk-image "$out/share/image.json" > "$out/bin/build-image"
        chmod +x "$out/bin/build-image"
      '';

  image =
    pkgs.runCommand name
      {
        # Besides this tool, programs that postVM hooks in nixpkgs use.
        nativeBuildInputs = [
          nixos-disk-image
          buildPackages.parted
          buildPackages.util-linux
          buildPackages.e2fsprogs
          buildPackages.rsync
          buildPackages.nix
        ];
        specification = builtins.toJSON specification;
        passAsFile = [ "specification" ];
        passthru = { inherit filename; };
        inherit meta;
      }
      ''
        export HOME="$NIX_BUILD_TOP"
        ${lib.optionalString (populateRootWith == "cptofs") ''
          echo 'populateRootWith = "cptofs" is ignored: mke2fs makes the filesystem, and this tool fills it'
        ''}
        nixos-disk-image build --out "$out" "$specificationPath" < /dev/null
        # Makes Hydra offer the image for download.
        mkdir -p "$out/nix-support"
        echo "file ${if format == "qcow2-compressed" then "qcow2" else format}-image $out/${filename}" > "$out/nix-support/hydra-build-products"

        # Functions of nixpkgs' make-disk-image, for postVM.
        sectorsToKilobytes() {
          echo $(("$1" * 512 / 1024))
        }
        sectorsToBytes() {
          echo $(("$1" * 512))
        }
        diskImage="$out/${filename}"
        # postVM runs without errexit, as in nixpkgs. But failures are reported, and the build fails if the last command
        # fails.
        set +eu
        trap 'echo "postVM: exit status $? of: $BASH_COMMAND" >&2' ERR
        ${postVM}
        postVMStatus=$?
        trap - ERR
        [ "$postVMStatus" = 0 ] || exit "$postVMStatus"
        set -e
      '';
in
lib.throwIf (problems != [ ])
  "make-disk-image:\n${lib.concatMapStrings (problem: "  ${problem}\n") problems}"
  (if asScript then script else image)
