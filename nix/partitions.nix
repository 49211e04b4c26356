# What the configuration needs to know about own partitions (`partitions`), as a layout of layouts.nix and as fileSystems. The
# tool completes them in lib/spec/partitions-spec.ts; test/tool/nix compares the two.
{ lib, partitions }:
let
  guids = {
    esp = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
    xbootldr = "bc13c2ff-59e6-4262-a352-b275fd6f7172";
    swap = "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f";
    bios-boot = "21686148-6449-6e6f-744e-656564454649";
  };
  isType =
    name: one:
    let
      type = if one.type or null == null then "" else one.type;
    in
    type == name || lib.toLower type == guids.${name};
  subvolumesOf = one: if one.subvolumes or null == null then [ ] else one.subvolumes;
  # Where it is mounted, or the subvolume of it that is mounted above the others.
  mountPointOf =
    one:
    let
      all = builtins.filter (at: at != null) (
        [ (one.mountPoint or null) ] ++ map (subvolume: subvolume.mountPoint or null) (subvolumesOf one)
      );
      isShorter = a: b: builtins.stringLength a < builtins.stringLength b;
    in
    if all == [ ] then null else builtins.head (builtins.sort isShorter all);
  isMounted = one: mountPointOf one != null;
  filesystemOf =
    one:
    if one.filesystem or null != null then
      one.filesystem
    else if isType "esp" one || isType "xbootldr" one then
      "vfat"
    else if isType "swap" one then
      "swap"
    else if subvolumesOf one != [ ] then
      "btrfs"
    else if isMounted one || one.populateFrom or null != null then
      "ext4"
    else
      "none";
  # The one that is mounted, or else the first one.
  first =
    name:
    let
      all = builtins.filter (isType name) partitions;
    in
    lib.findFirst isMounted (if all == [ ] then null else builtins.head all) all;
  esp = first "esp";
  xbootldr = first "xbootldr";
  root = lib.findFirst (one: mountPointOf one == "/") null partitions;

  packed = import ./packed-filesystems.nix;
  lengths = import ./filesystems.nix // packed // { vfat = 11; };
  labelOf =
    one:
    let
      filesystem = filesystemOf one;
      kept = lib.concatStrings (
        builtins.filter (character: builtins.match "[A-Za-z0-9_-]" character != null) (
          lib.stringToCharacters (baseNameOf (toString (mountPointOf one)))
        )
      );
      name = if kept == "" then "data" else kept;
    in
    if one.label or null != null then
      one.label
    else if mountPointOf one == "/" then
      "nixos"
    else if one == esp then
      "ESP"
    else if one == xbootldr || (mountPointOf one == "/boot" && filesystem == "vfat") then
      "BOOT"
    else if filesystem == "swap" then
      "swap"
    else
      builtins.substring 0 lengths.${filesystem} (if filesystem == "vfat" then lib.toUpper name else name);
  # As udev writes a label: other characters than letters, digits and #+-.:=@_ as \x20.
  udevName = builtins.replaceStrings special.characters special.written;
  byLabel =
    one:
    if filesystemOf one == "squashfs" then
      "/dev/disk/by-partlabel/${udevName (nameOf one)}"
    else
      "/dev/disk/by-label/${udevName (labelOf one)}";
  nameOf =
    one:
    let
      name = one.name or null;
      type = one.type or null;
      isGuid = type != null && builtins.match "[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}" type != null;
    in
    if name == "" || (name == null && isGuid) then
      throw "partitions: the squashfs at ${one.mountPoint} is found by its name in the partition table: set name"
    else if name != null then
      name
    else if type != null then
      type
    else
      "linux-generic";
  special = {
    characters = [
      " "
      "!"
      "\""
      "$"
      "%"
      "&"
      "'"
      "("
      ")"
      "*"
      ","
      "/"
      ";"
      "<"
      ">"
      "?"
      "["
      "\\"
      "]"
      "^"
      "`"
      "{"
      "|"
      "}"
      "~"
    ];
    written = map (code: "\\x${code}") (lib.splitString " " "20 21 22 24 25 26 27 28 29 2a 2c 2f 3b 3c 3e 3f 5b 5c 5d 5e 60 7b 7c 7d 7e");
  };
  holdsFiles =
    one:
    !(builtins.elem (filesystemOf one) [
      "swap"
      "none"
    ]);
in
{
  layout = {
    bios = builtins.any (isType "bios-boot") partitions;
    efi = esp != null;
    gpt = true;
    bootSize = false;
    esp = if esp == null then null else mountPointOf esp;
    boot = if xbootldr != null then mountPointOf xbootldr else if esp == null then null else mountPointOf esp;
  };
  fsType = if root == null then "ext4" else filesystemOf root;
  label = if root == null then "nixos" else labelOf root;
  # On the disk, or in memory with the store on the disk.
  hasRoot = root != null || builtins.any (one: builtins.elem (mountPointOf one) [ "/nix" "/nix/store" ]) partitions;
  isRootOnDisk = root != null;
  mountPoints = map mountPointOf (builtins.filter isMounted partitions);
  # Arguments about a layout, for which entries have options.
  replaces = [
    "partitionTableType"
    "bootSize"
    "fsType"
    "label"
    "rootGPUID"
    "rootFSUID"
  ];
  # Whether every filesystem that is filled is made with the same bytes each time.
  isReproducible = builtins.all (
    one:
    !holdsFiles one
    || builtins.elem (filesystemOf one) (
      [
        "ext4"
        "vfat"
      ]
      ++ builtins.attrNames packed
    )
  ) partitions;
  fileSystems = builtins.listToAttrs (
    lib.concatMap (
      one:
      let
        mounted =
          at: options:
          lib.optional (at != null) {
            name = at;
            value = {
              device = byLabel one;
              fsType = filesystemOf one;
            }
            // options;
          };
      in
      mounted (one.mountPoint or null) { }
      ++ lib.concatMap (
        subvolume: mounted (subvolume.mountPoint or null) { options = [ "subvol=${subvolume.path}" ]; }
      ) (subvolumesOf one)
    ) (builtins.filter (one: isMounted one && holdsFiles one) partitions)
  );
  swapDevices = map (one: { device = byLabel one; }) (
    builtins.filter (one: filesystemOf one == "swap") partitions
  );
}
