# nixpkgs' make-disk-image, with this tool in the derivation: the same arguments, no VM, no KVM and no
# requiredSystemFeatures, so that any builder of Nix's takes it. The image is the same bytes each time, where the filesystem
# allows it.
#
#   import ./nix/make-disk-image.nix { inherit pkgs lib config; format = "qcow2"; partitionTableType = "efi"; }
#
# docs/make-disk-image.md has every argument, and what differs.
{
  pkgs,
  lib,
  config,
  diskSize ? "auto",
  additionalSpace ? "512M",
  bootSize ? "256M",
  contents ? [ ],
  partitionTableType ? "legacy",
  installBootLoader ? true,
  touchEFIVars ? false,
  OVMF ? pkgs.OVMF.fd,
  # Taken, and of no use: no machine is started.
  efiFirmware ? null,
  efiVariables ? OVMF.variables,
  fsType ? "ext4",
  label ? if onlyNixStore then "nix-store" else "nixos",
  configFile ? null,
  # Shell code, run at the end with the image in $diskImage.
  postVM ? "",
  # Taken, and of no use, as efiFirmware.
  memSize ? 1024,
  onlyNixStore ? false,
  name ? "nixos-disk-image",
  baseName ? "nixos",
  format ? "raw",
  deterministic ? true,
  # What `nix-build --check` compares.
  reproducible ?
    deterministic && fsType == "ext4" && (import ./formats.nix).${format}.isReproducible or true,
  rootGPUID ? "F222513B-DED1-49FA-B591-20CE86A2FE7F",
  rootFSUID ? rootGPUID,
  rootFSHashSeed ? rootFSUID,
  # "cptofs" is taken, and mke2fs does it.
  populateRootWith ? "mke2fs",
  copyChannel ? true,
  additionalPaths ? [ ],

  # What nixpkgs' has not.

  # "grub" or "systemd-boot"; null: the one that the system is configured for.
  bootLoader ? null,
  # Seconds, or "none"; null: as the system is configured, and so the next three.
  bootLoaderTimeout ? null,
  editor ? null,
  consoleMode ? null,
  timeoutStyle ? null,
  meta ? { },
  # This tool, of the platform that builds.
  nixos-disk-image ? pkgs.buildPackages.callPackage ./package.nix { },
}:
let
  inherit (config.system.build) toplevel;
  inherit (pkgs) buildPackages;

  problems = import ./assertions.nix {
    inherit
      lib
      config
      additionalSpace
      bootLoader
      bootLoaderTimeout
      bootSize
      configFile
      consoleMode
      contents
      deterministic
      diskSize
      editor
      format
      fsType
      installBootLoader
      label
      onlyNixStore
      partitionTableType
      populateRootWith
      reproducible
      rootFSUID
      timeoutStyle
      touchEFIVars
      ;
  };

  # What `nix-channel --update` would leave: the sources as a directory "nixos", with the version they are of. The same output as
  # that of nixpkgs' make-channel.
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

  specification = lib.filterAttrs (_: value: value != null) {
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
      ;
    # Proxmox's option is a string.
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
in
lib.throwIf (problems != [ ])
  "make-disk-image:\n${lib.concatMapStrings (problem: "  ${problem}\n") problems}"
  (
    pkgs.runCommand name
      {
        # The programs that hooks of nixpkgs' callers use besides stdenv's.
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
          echo 'populateRootWith = "cptofs": the filesystem is made and filled by mke2fs and this tool instead'
        ''}
        nixos-disk-image build --out "$out" "$specificationPath" < /dev/null
        # Where Hydra offers it for download.
        mkdir -p "$out/nix-support"
        echo "file ${if format == "qcow2-compressed" then "qcow2" else format}-image $out/${filename}" > "$out/nix-support/hydra-build-products"

        # For hooks: as nixpkgs' make-disk-image has them.
        sectorsToKilobytes() {
          echo $(("$1" * 512 / 1024))
        }
        sectorsToBytes() {
          echo $(("$1" * 512))
        }
        diskImage="$out/${filename}"
        # As there: without errexit; but what fails is told, and what fails last fails the build.
        set +eu
        trap 'echo "postVM: status $? of: $BASH_COMMAND" >&2' ERR
        ${postVM}
        postVMStatus=$?
        trap - ERR
        [ "$postVMStatus" = 0 ] || exit "$postVMStatus"
        set -e
      ''
  )
