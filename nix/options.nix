# Options of the image, with the names of make-disk-image's arguments.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  loader = config.boot.loader;
  nullOr =
    type: description:
    mkOption {
      type = types.nullOr type;
      default = null;
      inherit description;
    };
  flag =
    default: description:
    mkOption {
      type = types.bool;
      inherit default description;
    };
  size =
    default: description:
    mkOption {
      type = types.either types.ints.positive types.str;
      inherit default description;
    };
  keyPair = types.submodule {
    options = {
      key = mkOption {
        type = types.str;
        description = "File with the private key, in PEM.";
      };
      certificate = mkOption {
        type = types.str;
        description = "File with its certificate, in PEM.";
      };
    };
  };
in
{
  options.nixosDiskImage = {
    partitionTableType = mkOption {
      type = types.enum (builtins.attrNames (import ./layouts.nix));
      default =
        if loader.systemd-boot.enable then
          "efi"
        else if loader.grub.enable && loader.grub.efiSupport then
          if builtins.all (device: device == "nodev") loader.grub.devices then "efi" else "hybrid"
        else
          "legacy";
      defaultText = "a layout for the boot loader of the system";
      description = "The partition layout, unless `partitions` is set.";
    };
    partitions = nullOr (types.listOf (
      types.submodule {
        options = {
          type = nullOr types.str "Type: a name of the Discoverable Partitions Specification such as \"esp\", or a GUID; null: linux-generic, or swap for swap.";
          name = nullOr types.str "Name in the partition table; null: the name of the type.";
          uuid = nullOr types.str "GUID in the partition table.";
          size = nullOr (types.either types.ints.positive types.str) "Size, or \"auto\": what the content needs and `additionalSpace`. null: \"auto\".";
          additionalSpace = nullOr (types.either types.ints.positive types.str) "Free space if the content decides the size; null: that of the image.";
          maxSize = nullOr (types.either types.ints.positive types.str) "Largest size.";
          weight = nullOr types.ints.unsigned "Share of what a given `diskSize` leaves over; null: 1 for the root if no partition has a weight, otherwise 0.";
          alignment = nullOr (types.either types.ints.positive types.str) "Multiple at which it begins, and of its size; null: \"1M\".";
          padding = nullOr (types.submodule {
            options = {
              size = nullOr (types.either types.ints.unsigned types.str) "Least size; null: 0.";
              maxSize = nullOr (types.either types.ints.unsigned types.str) "Largest size.";
              weight = nullOr types.ints.unsigned "Share of what a given `diskSize` leaves over; null: 0.";
            };
          }) "Free space after it: `size`, `maxSize` and `weight`.";
          filesystem = nullOr (types.enum (
            builtins.attrNames (import ./filesystems.nix // import ./packed-filesystems.nix)
            ++ [
              "vfat"
              "swap"
              "none"
            ]
          )) "Filesystem; null: by type and use.";
          compression = nullOr types.str "Compression of an erofs (\"lz4hc\") or a squashfs (\"zstd\"); null: the one in parentheses.";
          compressionLevel = nullOr types.ints.unsigned "Level of the compression; null: its default.";
          label = nullOr types.str "Label of the filesystem, by which `fileSystems` finds it. A squashfs is found by its `name`.";
          filesystemUuid = nullOr types.str "UUID of the filesystem, or volume ID of a FAT.";
          mountPoint = nullOr types.str "Where it is mounted. It gets the part of the image below this path.";
          subvolumes = nullOr (types.listOf (
            types.submodule {
              options = {
                path = mkOption {
                  type = types.str;
                  description = "Path from the top level, such as \"@home\".";
                };
                mountPoint = nullOr types.str "Where it is mounted; one of them must be above the others.";
              };
            }
          )) "Subvolumes of a btrfs, each with `path` and `mountPoint`, of which it gets the part of the image.";
          populateFrom = nullOr types.path "Directory whose contents it gets, if it is not mounted.";
          attributes = mkOption {
            type = types.listOf (types.either types.ints.unsigned types.str);
            default = [ ];
            description = "Attributes in the partition table: \"grow-file-system\", \"read-only\", \"no-auto\", or numbers of bits.";
          };
        };
      }
    )) "Own partitions, in their order on the disk, instead of a partition layout; null: `partitionTableType`.";
    diskSize = size "auto" "Size of the disk in MiB, a size such as \"20G\", or \"auto\": the size of the contents plus `additionalSpace`.";
    additionalSpace = mkOption {
      type = types.either types.ints.positive types.str;
      default = if config.nixosDiskImage.minimize then "32M" else "512M";
      defaultText = "512M, or 32M with minimize";
      description = "Free space with `diskSize = \"auto\"`.";
    };
    minimize = flag false "Make the root filesystem as small as its content allows, with `additionalSpace` beyond it. Only for ext4.";
    bootSize = size "256M" "End of the boot partition on the disk.";
    sectorSize = mkOption {
      type = types.enum [
        512
        4096
      ];
      default = 512;
      description = "Size of the disk's sectors; 4096 only with `partitionTableType = \"efi\"`.";
    };
    sizeMultiple = nullOr (types.either types.ints.positive types.str) "Multiple to which the size of the disk is rounded up, such as \"1G\"; null: 1M.";
    maxSize = nullOr (types.either types.ints.positive types.str) "Largest size of the disk. A build that needs more fails, and names the largest store paths.";
    format = mkOption {
      type = types.enum (builtins.attrNames (import ./formats.nix));
      default = "qcow2";
      description = "Format of the image file.";
    };
    fsType = mkOption {
      type = types.enum (builtins.attrNames (import ./filesystems.nix));
      default = "ext4";
      description = "Type of the root filesystem.";
    };
    label = nullOr types.str "Label of the root filesystem; null: nixos.";
    contents = mkOption {
      type = types.listOf (
        types.submodule {
          options = {
            source = mkOption {
              type = types.path;
              description = "A file or directory.";
            };
            target = mkOption {
              type = types.str;
              description = "Absolute path in the image.";
            };
            mode = nullOr types.str "Mode, such as \"755\".";
            user = nullOr types.str "Owner, together with `group`: a name for which the configuration sets an ID, or an ID.";
            group = nullOr types.str "See `user`.";
          };
        }
      );
      default = [ ];
      description = "Files to copy into the image.";
    };
    configFile = nullOr types.path "File to install as /etc/nixos/configuration.nix.";
    installBootLoader = flag true "Install the boot loader.";
    bootLoader = nullOr (types.enum [
      "grub"
      "systemd-boot"
    ]) "Boot loader to install; null: the one that the system is configured for.";
    bootLoaderTimeout =
      nullOr (types.either types.ints.unsigned (types.enum [ "none" ]))
        "Seconds that the boot menu waits, or \"none\"; null: boot.loader.timeout.";
    touchEFIVars = flag false "Keep a store of EFI variables beside the image (efi-vars.fd), with a boot entry.";
    copyChannel = flag false "Include nixpkgs as a channel.";
    additionalPaths = mkOption {
      type = types.listOf (types.either types.package types.str);
      default = [ ];
      description = "Additional store paths to include, with their closures.";
    };
    deterministic = flag true "Use fixed identifiers for the disk, its partitions and filesystems.";
    reproducible = nullOr types.bool "Produce the same bytes each time; null: if format and filesystem allow it.";
    rootGPUID = nullOr types.str "GUID of the root partition; null: that of make-disk-image.";
    rootFSUID = nullOr types.str "UUID of the root filesystem; null: rootGPUID.";
    postVM = mkOption {
      type = types.lines;
      default = "";
      description = "Shell code that runs at the end, with the path of the image in `$diskImage`.";
    };
    encrypt = nullOr (types.submodule {
      options = {
        passphraseFile = mkOption {
          type = types.str;
          description = "File with the passphrase, on the machine that builds the image.";
        };
        morePassphraseFiles = mkOption {
          type = types.listOf types.str;
          default = [ ];
          description = "Files with further passphrases.";
        };
        recoveryKeyFile = nullOr types.str "File to write a recovery key to.";
        volumeKeyFile = nullOr types.str "File with the volume key; null: a random one.";
        name = mkOption {
          type = types.str;
          default = "cryptroot";
          description = "Name in /dev/mapper.";
        };
        uuid = mkOption {
          type = types.str;
          default = "6d0c7b3e-2f61-4c0a-8f59-7b1d0f6a91e4";
          description = "UUID of the LUKS header, by which the initrd finds it.";
        };
        label = nullOr types.str "Label of the LUKS header.";
        keyDerivation = nullOr (types.submodule {
          options = {
            type = nullOr (types.enum [
              "argon2id"
              "pbkdf2"
            ]) "Function; null: argon2id.";
            memory = nullOr (types.either types.ints.positive types.str) "Memory that argon2id needs; null: \"256M\".";
            iterations = nullOr types.ints.positive "Iterations; null: 4 for argon2id, 1000000 for pbkdf2.";
            threads = nullOr types.ints.positive "Threads of argon2id; null: 4.";
          };
        }) "How a passphrase becomes a key: `type`, `memory`, `iterations` and `threads`.";
        sectorSize = nullOr (types.enum [
          512
          4096
        ]) "Sector size of the opened device; null: 4096 where that is possible.";
        encryptFreeSpace = nullOr types.bool "Also encrypt what is free; the image is then not sparse.";
      };
    }) "Encrypt the root with LUKS2: `system.build.imageScript` is then a program that builds the image, because a derivation cannot read secrets.";
    secureBoot = nullOr (types.submodule {
      options = {
        key = mkOption {
          type = types.str;
          description = "File with the private key that signs, in PEM, on the machine that builds the image.";
        };
        certificate = mkOption {
          type = types.str;
          description = "File with its certificate, in PEM.";
        };
        way = mkOption {
          type = types.enum [
            "uki"
            "kernel"
          ];
          default = "uki";
          description = "What is signed: unified kernel images, or boot loader and kernels.";
        };
        enroll = mkOption {
          type = types.enum [
            "variables"
            "first-boot"
            "none"
          ];
          default = "none";
          description = "How the keys get into the firmware of a machine.";
        };
        platformKey = nullOr keyPair "Key and certificate to enroll as PK; null: those above.";
        keyExchangeKey = nullOr keyPair "Key and certificate to enroll as KEK; null: those above.";
        owner = nullOr types.str "GUID of the owner of the keys.";
      };
    }) "Sign for Secure Boot, like `encrypt` by a program.";
    package = nullOr types.package "The package of nixos-disk-image; null: built for the build platform.";
  };
}
