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
  reproducible ? deterministic && fsType == "ext4" && populateRootWith == "mke2fs",
  rootGPUID ? "F222513B-DED1-49FA-B591-20CE86A2FE7F",
  rootFSUID ? rootGPUID,
  rootFSHashSeed ? rootFSUID,
  populateRootWith ? "mke2fs",
  copyChannel ? true,
  additionalPaths ? [ ],

  # What nixpkgs' has not.

  # "grub" or "systemd-boot"; null: the one that the system is for.
  bootLoader ? null,
  # Seconds; null: 5, as in NixOS.
  bootLoaderTimeout ? null,
  # This tool, of the platform that builds.
  nixos-disk-image ? import ./package.nix { pkgs = pkgs.buildPackages; },
}:
let
  inherit (config.system.build) toplevel;
  inherit (pkgs) buildPackages;

  # What `nix-channel --update` would leave: the sources as a directory "nixos", with the version they are of.
  channel = pkgs.runCommand "nixos-${config.system.nixos.version}" { } ''
    mkdir -p "$out"
    cp -r --no-preserve=mode,ownership ${lib.cleanSource pkgs.path} "$out/nixos"
    rm -rf "$out/nixos/.git"
    [ -e "$out/nixos/nixpkgs" ] || ln -s . "$out/nixos/nixpkgs"
    printf %s '${config.system.nixos.versionSuffix}' > "$out/nixos/.version-suffix"
  '';

  closureInfo = pkgs.closureInfo {
    rootPaths = [ toplevel ] ++ lib.optional copyChannel channel ++ additionalPaths;
  };

  specification = lib.filterAttrs (_: value: value != null) {
    inherit
      diskSize
      additionalSpace
      bootSize
      partitionTableType
      installBootLoader
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
      populateRootWith
      memSize
      ;
    toplevel = "${toplevel}";
    closureInfo = "${closureInfo}";
    channel = if copyChannel then "${channel}" else null;
    contents = map (lib.filterAttrs (_: value: value != null)) contents;
    bootLoaderFrom = "bootspec";
    bootLoader = if installBootLoader then bootLoader else null;
    bootLoaderTimeout = if installBootLoader then bootLoaderTimeout else null;
    efiVariables = if touchEFIVars then "${efiVariables}" else null;
  };

  extension = {
    raw = "img";
    qcow2 = "qcow2";
    qcow2-compressed = "qcow2";
    vdi = "vdi";
    vpc = "vhd";
  };
  filename = "${baseName}.${extension.${format} or format}";
in
derivation {
  inherit name format filename;
  inherit (buildPackages.stdenv.buildPlatform) system;
  builder = buildPackages.runtimeShell;
  args = [
    "-eu"
    ./build-image.sh
  ];
  PATH = lib.makeBinPath [
    nixos-disk-image
    buildPackages.coreutils
  ];
  inherit postVM;
  specification = builtins.toJSON specification;
  passAsFile = [
    "specification"
    "postVM"
  ];
}
// {
  inherit filename;
}
