# Checks at evaluation the arguments of make-disk-image.nix, and options of the configuration that this tool does not
# support. Returns a list of sentences, each starting with the name of the argument or option.
{
  lib,
  config,
  asScript,
  encrypt,
  postVM,
  secureBoot,
  additionalSpace,
  besidePartitions,
  besideRandom,
  bootLoader,
  bootLoaderTimeout,
  bootSize,
  configFile,
  consoleMode,
  contents,
  copyChannel,
  deterministic,
  diskSize,
  editor,
  format,
  fsType,
  installBootLoader,
  label,
  maxSize,
  minimize,
  onlyNixStore,
  own,
  partitionTableType,
  populateRootWith,
  reproducible,
  rootFSUID,
  sectorSize,
  sizeMultiple,
  timeoutStyle,
  touchEFIVars,
}:
let
  layouts = import ./layouts.nix;
  layout = if own != null then own.layout else layouts.${partitionTableType} or layouts.none;
  isLayout = own != null || layouts ? ${partitionTableType};
  named = if own != null then "partitions" else "\"${partitionTableType}\"";

  oneOf =
    name: value: choices:
    check (builtins.elem value choices)
      "${name}: is ${builtins.toJSON value}; must be one of ${
        lib.concatMapStringsSep ", " builtins.toJSON choices
      }";
  check = condition: message: lib.optional (!condition) message;

  # Parses an IEC size into bytes; null when it is not one.
  bytes =
    size:
    if builtins.isInt size then
      size
    else
      let
        parts = builtins.match "([0-9]+)([KMGTP]?)(i?B)?" size;
        factors = {
          "" = 1;
          K = 1024;
          M = 1048576;
          G = 1073741824;
          T = 1099511627776;
          P = 1125899906842624;
        };
      in
      if parts == null then
        null
      else
        lib.toIntBase10 (builtins.elemAt parts 0) * factors.${builtins.elemAt parts 1};
  isSize = size: builtins.match "[0-9]+(\\.[0-9]+)?[KMGTP]?(i?B)?" (toString size) != null;
  diskBytes =
    if builtins.isInt diskSize then
      diskSize * 1048576
    else if builtins.match "[0-9]+" diskSize != null then
      lib.toIntBase10 diskSize * 1048576
    else
      bytes diskSize;

  sizes =
    check (diskSize == "auto" || builtins.isInt diskSize || isSize diskSize)
      "diskSize: ${builtins.toJSON diskSize} is not \"auto\", a number of MiB, or a size such as \"20G\""
    ++ check (isSize additionalSpace) "additionalSpace: ${builtins.toJSON additionalSpace} is not a size such as \"512M\""
    ++ check (sizeMultiple == null || isSize sizeMultiple) "sizeMultiple: ${builtins.toJSON sizeMultiple} is not a size such as \"1G\""
    ++ check (maxSize == null || isSize maxSize) "maxSize: ${builtins.toJSON maxSize} is not a size such as \"2G\""
    ++ oneOf "sectorSize" sectorSize [
      512
      4096
    ]
    ++ lib.optionals (sectorSize == 4096) (
      check (own != null || partitionTableType == "efi") "sectorSize: 4096 contradicts partitionTableType \"${partitionTableType}\": it is supported only for \"efi\""
      ++ check (fsType != "f2fs") "sectorSize: 4096 contradicts fsType \"f2fs\""
      ++ check (formats.${format}.hasAnySectors or true) "sectorSize: 4096 contradicts format \"${format}\": its disks have sectors of 512 bytes"
    )
    ++ lib.optionals minimize (
      check (diskSize == "auto") "minimize: contradicts diskSize: the disk cannot have the smallest and a given size"
      ++ check (fsType == "ext4") "minimize: contradicts fsType \"${fsType}\": it is supported only for ext4"
    )
    ++ check (isSize bootSize) "bootSize: ${builtins.toJSON bootSize} is not a size such as \"256M\""
    ++ lib.optionals (layout.bootSize && isSize bootSize && diskSize != "auto" && isSize diskSize) (
      check (bytes bootSize == null || diskBytes == null || bytes bootSize < diskBytes)
        "bootSize: the boot partition would end at ${toString bootSize}, beyond the end of a disk of ${toString diskSize}"
    );

  formats = import ./formats.nix;

  # Without "..", "." and double slashes. toString: a path literal in a string is copied to the store.
  normalized =
    path:
    "/"
    + lib.concatStringsSep "/" (
      builtins.foldl' (
        parts: part:
        if part == "" || part == "." then
          parts
        else if part == ".." then
          (if parts == [ ] then [ ] else lib.init parts)
        else
          parts ++ [ part ]
      ) [ ] (lib.splitString "/" (toString path))
    );
  inStore =
    file: lib.hasPrefix "/" (toString file) && isBelow (normalized file) (normalized builtins.storeDir);
  secret =
    name: file:
    if inStore file then
      [ "${name}: ${toString file} is in the Nix store, which everybody can read; keep secrets elsewhere" ]
    else
      check (!builtins.isPath file)
        "${name}: ${toString file} is written as a path, which Nix copies to its store, which everybody can read; write it as a string: \"${toString file}\"";
  # The files with secrets that `encrypt` and `secureBoot` name.
  filesIn =
    name: value:
    builtins.filter (file: file != null) (
      if name == "encrypt" then
        [
          value.passphraseFile or null
          value.recoveryKeyFile or null
          value.volumeKeyFile or null
        ]
        ++ value.morePassphraseFiles or [ ]
      else
        [
          value.key or null
          (if value.platformKey or null == null then null else value.platformKey.key or null)
          (if value.keyExchangeKey or null == null then null else value.keyExchangeKey.key or null)
        ]
    );
  labelBytes = import ./filesystems.nix;

  isBelow = target: mountPoint: mountPoint != null && (target == mountPoint || lib.hasPrefix "${mountPoint}/" target);
  entry =
    index: one:
    let
      name = "contents[${toString index}]";
      user = one.user or null;
      group = one.group or null;
      target = normalized one.target;
      isOnFat = isBelow target layout.esp || isBelow target layout.boot;
    in
    check ((user == null) == (group == null)) "${name}: user and group must be given together"
    ++ check (!(builtins.elem ".." (lib.splitString "/" one.target))) "${name}.target: ${one.target} leaves the root"
    ++ check (hasPlace one.target) "${name}.target: would be lost: ${one.target} is on no partition"
    ++ lib.optionals isOnFat (
      check (
        user == null && (one.mode or null) == null
      ) "${name}: ${one.target} is on a FAT, which does not store owners and modes"
    )
    ++ lib.optionals (!isOnFat && user != null && group != null) (
      declared "user" name user ++ declared "group" name group
    );
  # A name must have an ID in the configuration, because none of the system's code runs.
  declared =
    kind: name: owner:
    let
      all = config.users."${kind}s" or null;
      id = if kind == "user" then "uid" else "gid";
    in
    lib.optionals (all != null && owner != "root" && builtins.match "[0-9]+" owner == null) (
      if !(all ? ${owner}) then
        [ "${name}.${kind}: the system does not declare the ${kind} ${owner}" ]
      else
        check (
          (all.${owner}.${id} or null) != null
        ) "${name}.${kind}: the system declares ${owner} without an ID and chooses one at activation; set users.${kind}s.${owner}.${id}"
    );

  # Whether a path is on a partition, and not in memory, as the root of some systems is.
  hasPlace = path: own == null || own.isRootOnDisk || builtins.any (isBelow (normalized path)) own.mountPoints;
  root = config.fileSystems."/" or { };
  isRootInMemory = builtins.elem (root.fsType or "") [
    "tmpfs"
    "ramfs"
  ];
  withoutRoot =
    if !own.hasRoot then
      [ "partitions: has no partition with mountPoint \"/\"" ]
    else
      check isRootInMemory "partitions: has no partition with mountPoint \"/\", but fileSystems.\"/\" is not a tmpfs: ${
        if root == { } then "it is not set" else "${toString (root.device or null)} (${root.fsType or "auto"})"
      }"
      ++ check (!minimize) "minimize: needs a root on the disk"
      ++ check (encrypt == null) "encrypt: encrypts the root, and no partition has mountPoint \"/\""
      ++ check (configFile == null || hasPlace "/etc/nixos") "configFile: would be lost: /etc/nixos is on no partition"
      ++ check (!copyChannel || hasPlace "/root") "copyChannel: would be lost: /root is on no partition";

  loader = config.boot.loader or { };
  grub = loader.grub or { };
  systemdBoot = loader.systemd-boot or { };
  esp = loader.efi.efiSysMountPoint or "/boot";
  # An option that a release has removed throws when it is evaluated.
  isEnabled =
    name:
    let
      enabled = builtins.tryEval (loader.${name}.enable or false);
    in
    enabled.success && enabled.value;
  others = builtins.filter isEnabled [
    "limine"
    "refind"
    "generic-extlinux-compatible"
    "external"
    "initScript"
    "raspberryPi"
    "efi-boot-stub"
  ];
  isOwn = bootLoader == null;
  usesGrub = isOwn && grub.enable or false;
  usesSystemdBoot = isOwn && systemdBoot.enable or false;
  hasDevice = builtins.any (device: device != "nodev") (grub.devices or [ ]);
  needsVm = "needs a VM; use nixpkgs' make-disk-image";
  no = option: "boot.loader.${option}: ${needsVm}";
  passwordFiles = lib.concatLists (
    lib.mapAttrsToList (
      name: user:
      map (option: "boot.loader.grub.users.${name}.${option}: names a file of the running machine, which does not exist at build time") (
        builtins.filter (option: (user.${option} or null) != null) [
          "hashedPasswordFile"
          "passwordFile"
        ]
      )
    ) (grub.users or { })
  );

  loaders =
    check (
      (config.boot.initrd.secrets or { }) == { }
    ) "boot.initrd.secrets: adding them to the initrd ${needsVm}"
    ++ lib.optionals isOwn (map (name: "boot.loader.${name}: its installer ${needsVm}; or set bootLoader") others)
    ++ check (
      !(isOwn && config.boot.lanzaboote.enable or false)
    ) "boot.lanzaboote.enable: its installer ${needsVm}; or set bootLoader"
    ++ lib.optionals (bootLoader == "systemd-boot" || usesSystemdBoot) (
      check layout.efi (
        if own != null then
          "partitions: has no partition of type \"esp\", which systemd-boot needs"
        else
          "partitionTableType: \"${partitionTableType}\" does not support EFI, which systemd-boot needs"
      )
    )
    ++ lib.optionals usesSystemdBoot (
      check ((systemdBoot.extraInstallCommands or "") == "") (no "systemd-boot.extraInstallCommands")
      ++ lib.optionals layout.efi (
        check (esp == layout.esp)
          "boot.loader.efi.efiSysMountPoint: is ${esp}, but the ESP of ${named} is ${toString layout.esp}"
        ++ check
          (
            let
              boot = systemdBoot.xbootldrMountPoint or null;
            in
            (if boot == null then esp else boot) == layout.boot
          )
          "boot.loader.systemd-boot.xbootldrMountPoint: the boot partition of ${named} is ${toString layout.boot}"
      )
    )
    ++ lib.optionals usesGrub (
      check ((grub.extraInstallCommands or "") == "") (no "grub.extraInstallCommands")
      ++ check (!(grub.enableCryptodisk or false)) (no "grub.enableCryptodisk")
      ++ check (builtins.length (grub.mirroredBoots or [ ]) <= 1) (no "grub.mirroredBoots")
      ++ check (
        (grub.storePath or "/nix/store") == "/nix/store"
      ) "boot.loader.grub.storePath: must be /nix/store"
      ++ passwordFiles
      ++ check (!hasDevice || layout.bios)
        "boot.loader.grub.devices: ${named} has no place for GRUB for BIOS; \"nodev\" installs only the menu"
      ++ lib.optionals (grub.efiSupport or false) (
        check layout.efi "boot.loader.grub.efiSupport: ${named} has no EFI system partition"
        ++ lib.optionals layout.efi (
          check (esp == layout.esp)
            "boot.loader.efi.efiSysMountPoint: is ${esp}, but the ESP of ${named} is ${toString layout.esp}"
        )
      )
    );
in
oneOf "partitionTableType" partitionTableType (builtins.attrNames layouts)
++ oneOf "fsType" fsType (builtins.attrNames labelBytes)
++ oneOf "format" format (builtins.attrNames formats)
++ oneOf "populateRootWith" populateRootWith [
  "mke2fs"
  "cptofs"
]
++ check (
  !deterministic || fsType != "ext4" || rootFSUID != null
) "rootFSUID: is required with deterministic and fsType ext4"
++ check (
  !touchEFIVars || layout.gpt
) "touchEFIVars: is supported only with partitionTableType hybrid, efi, efixbootldr or legacy+gpt"
++
  check (!onlyNixStore || (contents == [ ] && configFile == null && !installBootLoader && fsType == "ext4"))
    "onlyNixStore: contents must be empty, configFile null, installBootLoader false, and fsType ext4"
++ check (
  builtins.stringLength label <= labelBytes.${fsType} or 255
) "label: ${label} is longer than the ${toString labelBytes.${fsType} or 255} bytes of ${fsType}'s label"
++ check (
  !reproducible || (deterministic && fsType == "ext4" && formats.${format}.isReproducible or true)
) "reproducible: needs deterministic, fsType ext4, and a format that qemu-img writes without random identifiers"
++ lib.optionals (!installBootLoader) (
  lib.mapAttrsToList (name: _: "${name}: contradicts installBootLoader = false") (
    lib.filterAttrs (_: value: value != null) {
      inherit
        bootLoader
        bootLoaderTimeout
        consoleMode
        editor
        timeoutStyle
        ;
    }
  )
)
++ sizes
++ lib.concatLists (
  lib.mapAttrsToList
    (
      name: value:
      check (value == null || asScript)
        "${name}: names secrets, which a derivation cannot read; make-disk-image-script.nix, or system.build.imageScript, makes a program that builds this image"
      ++ lib.optionals (value != null) (
        lib.concatMap (secret name) (filesIn name value)
      )
    )
    {
      inherit encrypt secureBoot;
    }
)
++ check (!asScript || postVM == "") "postVM: is supported only in a derivation; run it after the program that makes the image"
++ map (name: "${name}: contradicts partitions, whose entries say it") besidePartitions
++ map (name: "${name}: contradicts deterministic = false, with which identifiers are random") besideRandom
++ lib.optionals (own != null && !own.isRootOnDisk) withoutRoot
++ check (own == null || !onlyNixStore) "partitions: contradicts onlyNixStore: such an image has no root"
++ lib.concatLists (lib.imap0 entry contents)
++ lib.optionals (installBootLoader && isLayout) loaders
