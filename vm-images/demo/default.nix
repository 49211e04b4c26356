# Builds systems with the structure of a NixOS toplevel from Debian packages, so that their images are built and booted
# like those of NixOS, on machines that cannot reach a NixOS binary cache.
#
#   nix-build --argstr inputs DIR -A all
# `packages` is a directory of packages for aarch64. If given, the systems are cross-built for aarch64.
{
  inputs,
  packages ? null,
}:
let
  inherit (import ./builders.nix { inherit inputs; })
    system
    debs
    busybox
    run
    ;

  target =
    if packages == null then
      {
        inherit debs busybox;
        system = "x86_64-linux";
        kernel = "bzImage";
        serial = "ttyS0";
        efi = "x64";
      }
    else
      rec {
        debs = builtins.path {
          path = /. + packages;
          name = "packages";
        };
        busybox = run "busybox" ./busybox.sh { inherit debs; };
        system = "aarch64-linux";
        kernel = "Image";
        serial = "ttyAMA0";
        efi = "aa64";
      };

  userland = run "userland" ./userland.sh { inherit debs; };
  linux = run "linux" ./linux.sh {
    inherit userland;
    inherit (target) debs kernel;
  };
  # luks: what the initrd opens, like boot.initrd.luks.devices: its name in /dev/mapper, and the device.
  mkInitrd =
    {
      luks,
      earlyMounts,
      modules,
    }:
    run "initrd" (if luks.systemd or false then ./initrd-systemd.sh else ./initrd.sh) {
      inherit
        linux
        userland
        debs
        earlyMounts
        modules
        ;
      inherit (target) busybox;
      luksName = luks.name or "";
      luksDevice = luks.device or "";
      stage1 = ./system/stage-1.sh;
    };
  grubImages = run "grub-images" ./grub-images.sh { inherit userland; };
  grubFont = run "grub-font" ./grub-font.sh { inherit debs; };
  grubSplash = run "splash.png" ./grub-splash.sh { };
  systemdBoot = run "systemd-boot" ./systemd-boot.sh { inherit (target) debs efi; };
  users = ./users;

  # The users and groups that the system declares, in the format that NixOS passes to update-users-groups.
  strings = separator: text: builtins.filter builtins.isString (builtins.split separator text);
  fields = file: map (strings ":") (builtins.filter (line: line != "") (strings "\n" (builtins.readFile file)));
  usersGroups = builtins.toFile "users-groups.json" (
    builtins.toJSON {
      mutableUsers = true;
      users = map (line: {
        name = builtins.elemAt line 0;
        uid = builtins.fromJSON (builtins.elemAt line 2);
        home = builtins.elemAt line 5;
      }) (fields ./users/passwd);
      groups = map (line: {
        name = builtins.elemAt line 0;
        gid = builtins.fromJSON (builtins.elemAt line 2);
      }) (fields ./users/group);
    }
  );

  etc = {
    demo = run "etc" ./etc.sh {
      inherit userland;
      source = ./etc/demo;
    };
    tiny = tinyEtc "";
  };
  tinyEtc =
    fstab:
    run "etc" ./etc-tiny.sh {
      source = ./etc/tiny;
      inherit (target) serial;
      inherit fstab;
    };

  stateVersion = "25.11";

  # flavour: "demo" has systemd, nix and GRUB's own grub-install; "tiny" is busybox.
  # loader: "grub", "systemd-boot" or "none"; grubTargets: GRUB's platforms; esp: where the ESP is mounted.
  mkSystem =
    {
      flavour,
      loader ? "none",
      grubTargets ? [ ],
      esp ? "",
      # The label of the filesystem of /boot, or "" when it is part of the root.
      boot ? "",
      root ? "LABEL=nixos",
      label ? "${stateVersion}-${flavour}",
      moreParams ? [ ],
      # Settings of boot.loader.grub, in addition to a timeout of 0.
      grubSettings ? { },
      # Systems by name.
      specialisations ? { },
      luks ? { },
      # Lines of fstab; those in earlyMounts are mounted by the initrd. Only for the flavour "tiny".
      mounts ? "",
      earlyMounts ? "",
      # Modules that the initrd loads, like boot.initrd.kernelModules.
      modules ? "",
    }:
    let
      initrd = mkInitrd { inherit luks earlyMounts modules; };
      isDemo = flavour == "demo";
      kernelParams = [
        "root=${root}"
        "console=${target.serial},115200n8"
        "loglevel=6"
        "mitigations=off"
        "audit=0"
      ]
      ++ moreParams;
      bootspec = toplevel: {
        inherit label kernelParams toplevel;
        inherit (target) system;
        kernel = "${linux}/${target.kernel}";
        initrd = "${initrd}/initrd";
        init = "${toplevel}/init";
      };
      bootJson = builtins.toJSON {
        "org.nixos.bootspec.v1" = bootspec "@out@";
        "org.nixos.specialisation.v1" = builtins.mapAttrs (name: special: {
          "org.nixos.bootspec.v1" = special.bootspec "${special}";
          "org.nixos.specialisation.v1" = { };
        }) specialisations;
      };
      installer = {
        grub = ./system/install-grub.sh;
        systemd-boot = ./system/install-systemd-boot.sh;
        none = ./system/no-bootloader.sh;
      };
      # The configuration of NixOS's GRUB installer, in the format of builtins.toXML.
      grubConfig = run "grub-config.xml" ./grub-config.sh {
        passAsFile = [ "config" ];
        config = builtins.toXML (
          {
            timeout = 0;
            timeoutStyle = "menu";
            default = "0";
            entryOptions = "--class nixos --unrestricted";
            subEntryOptions = "--class nixos";
            configurationLimit = 100;
            devices = if builtins.elem "i386-pc" grubTargets then [ "/dev/vda" ] else [ "nodev" ];
            grub = if builtins.elem "i386-pc" grubTargets then "${variables.sw}" else "";
            grubEfi = if builtins.elem "x86_64-efi" grubTargets then "${variables.sw}" else "";
            efiSysMountPoint = if esp == "" then "/boot" else esp;
            efiInstallAsRemovable = true;
            bootPath = "/boot";
            storePath = "/nix/store";
            fsIdentifier = "uuid";
            copyKernels = false;
            fullName = "grub";
            fullVersion = "2.06";
            extraGrubInstallArgs = [ ];
            users = { };
          }
          // grubSettings
        );
      };
      grubProgram = run "demo-install-grub" ./fill.sh (
        variables
        // {
          source = ./system/demo-install-grub.sh;
          kernelParams = builtins.concatStringsSep " " kernelParams;
        }
      );
      installBootLoader = run (if loader == "none" then "no-bootloader" else "install-${loader}.sh") ./fill.sh (
        variables
        // {
          source = installer.${loader};
          program = if loader == "grub" then grubProgram else "";
          kernelParams = builtins.concatStringsSep " " kernelParams;
        }
      );
      # The values of @names@ in scripts. A script refers only to what the system needs, to keep the closure small.
      variables = {
        inherit flavour loader esp boot users usersGroups;
        grubTargets = builtins.concatStringsSep " " grubTargets;
        etc = if mounts == "" then etc.${flavour} else tinyEtc (mounts + earlyMounts);
        inherit (target) busybox kernel;
        platform = target.system;
        sw = if isDemo then "${userland}/usr" else target.busybox;
        grubImages = if isDemo || loader != "grub" then "" else grubImages;
        systemdBoot = if loader == "systemd-boot" then systemdBoot else "";
        grubConfig = if loader == "grub" then grubConfig else "";
      };
    in
    { inherit bootspec; }
    // run "nixos-system-${flavour}-${stateVersion}" ./toplevel.sh (
      variables
      // {
        inherit linux initrd bootJson installBootLoader;
        version = label;
        kernelParams = builtins.concatStringsSep " " kernelParams;
        systemd = if isDemo then "${userland}/usr" else variables.systemdBoot;
        specialisations = builtins.concatStringsSep "\n" (
          builtins.map (name: "${name} ${specialisations.${name}}") (builtins.attrNames specialisations)
        );
        fill = ./fill.sh;
        stage2 = ./system/stage-2.sh;
        activate = ./system/activate.sh;
        switchToConfiguration = ./system/switch-to-configuration.sh;
        passAsFile = [ "bootJson" ];
      }
    );

  # With a second menu entry, which has an additional kernel parameter.
  withSpecialisation =
    arguments:
    mkSystem (
      arguments
      // {
        specialisations.verbose = mkSystem (
          arguments
          // {
            label = "${stateVersion}-${arguments.flavour}-verbose";
            moreParams = [ "demo.verbose=1" ];
          }
        );
      }
    );

  # A system that systemd-boot starts, with the ESP at /boot.
  onEsp = flavour: {
    inherit flavour;
    loader = "systemd-boot";
    esp = "/boot";
    boot = "ESP";
  };

  # A root in LUKS, and /boot on the ESP.
  encrypted = flavour: {
    inherit flavour;
    esp = "/boot";
    boot = "ESP";
    root = "/dev/mapper/cryptroot";
    luks = {
      name = "cryptroot";
      device = "/dev/disk/by-uuid/0cb5c4d1-6f5a-4e0e-9f43-2d7a6b1e8c90";
    };
  };

  bios = [ "i386-pc" ];
  efi = [ "x86_64-efi" ];

  variants = flavour: {
    none = mkSystem { inherit flavour; };
    grub-bios = mkSystem {
      inherit flavour;
      loader = "grub";
      grubTargets = bios;
    };
    grub-bios-uuid = mkSystem {
      inherit flavour;
      loader = "grub";
      grubTargets = bios;
      root = "UUID=f222513b-ded1-49fa-b591-20ce86a2fe7f";
    };
    grub-bios-boot = mkSystem {
      inherit flavour;
      loader = "grub";
      grubTargets = bios;
      boot = "BOOT";
    };
    grub-efi = mkSystem {
      inherit flavour;
      loader = "grub";
      grubTargets = efi;
      esp = "/boot";
      boot = "ESP";
    };
    grub-hybrid = withSpecialisation {
      inherit flavour;
      loader = "grub";
      grubTargets = bios ++ efi;
      esp = "/boot";
      boot = "ESP";
    };
    # For a host with its own loader, which reads this menu.
    grub-menu = mkSystem {
      inherit flavour;
      loader = "grub";
    };
    grub-settings = mkSystem {
      inherit flavour;
      loader = "grub";
      grubTargets = bios ++ efi;
      esp = "/boot";
      boot = "ESP";
      grubSettings = {
        timeout = 1;
        timeoutStyle = "hidden";
        default = "saved";
        font = "${grubFont}/unicode.pf2";
        splashImage = "${grubSplash}";
        backgroundColor = "#2F302F";
        splashMode = "normal";
        gfxmodeBios = "640x480";
        gfxmodeEfi = "640x480";
        gfxpayloadBios = "text";
        gfxpayloadEfi = "keep";
        users.admin.password = "it's $secret";
        extraConfig = "insmod chain\necho of extraConfig\n";
        extraEntries = "menuentry \"Power off\" --unrestricted {\n  halt\n}\n";
        extraPrepareConfig = "${target.busybox}/bin/install -Dp ${grubSplash} /boot/'extra file'\n";
      };
    };
    grub-xbootldr = mkSystem {
      inherit flavour;
      loader = "grub";
      grubTargets = efi;
      esp = "/efi";
      boot = "BOOT";
    };
    systemd-boot = withSpecialisation {
      inherit flavour;
      loader = "systemd-boot";
      esp = "/boot";
      boot = "ESP";
    };
    systemd-boot-luks = mkSystem (encrypted flavour // { loader = "systemd-boot"; });
    # The same with an initrd whose init is systemd.
    systemd-boot-luks-systemd = mkSystem (
      let
        arguments = encrypted flavour;
      in
      arguments
      // {
        loader = "systemd-boot";
        luks = arguments.luks // {
          systemd = true;
        };
      }
    );
    grub-hybrid-luks = mkSystem (
      encrypted flavour
      // {
        loader = "grub";
        grubTargets = bios ++ efi;
      }
    );
    # With partitions of its own for /home and /nix, and swap.
    systemd-boot-partitions = mkSystem (onEsp flavour // {
      mounts = ''
        LABEL=nixos / ext4 defaults 0 1
        LABEL=ESP /boot vfat umask=0077 0 2
        LABEL=home /home xfs defaults 0 2
        LABEL=swap none swap defaults 0 0
      '';
      modules = "xfs";
      earlyMounts = "LABEL=nix /nix btrfs defaults 0 2\n";
    });
    # With the subvolumes of one btrfs.
    systemd-boot-subvolumes = mkSystem (onEsp flavour // {
      moreParams = [ "rootflags=subvol=@" ];
      mounts = ''
        LABEL=nixos / btrfs subvol=@,noatime 0 0
        LABEL=ESP /boot vfat umask=0077 0 2
        LABEL=nixos /home btrfs noatime,subvol=/@home 0 0
      '';
      modules = "btrfs";
      earlyMounts = "LABEL=nixos /nix btrfs subvol=vols/@nix 0 0\n";
    });
    # With a store that is only read, and other files that are.
    systemd-boot-packed = mkSystem (onEsp flavour // {
      mounts = ''
        LABEL=nixos / ext4 defaults 0 1
        LABEL=ESP /boot vfat umask=0077 0 2
        /dev/vda4 /srv squashfs ro 0 0
      '';
      modules = "squashfs";
      earlyMounts = "LABEL=store /nix/store erofs ro 0 0\n";
    });
    # With a root in memory: at each boot, the system forgets all but the store and /persist.
    systemd-boot-tmpfs = mkSystem (onEsp flavour // {
      root = "tmpfs";
      mounts = ''
        tmpfs / tmpfs size=50%,mode=755 0 0
        LABEL=ESP /boot vfat umask=0077 0 2
        LABEL=persist /persist btrfs defaults 0 2
      '';
      modules = "btrfs";
      earlyMounts = "LABEL=nix /nix ext4 defaults 0 2\n";
    });
    systemd-boot-tmpfs-packed = mkSystem (onEsp flavour // {
      root = "tmpfs";
      mounts = ''
        tmpfs / tmpfs size=50%,mode=755 0 0
        LABEL=ESP /boot vfat umask=0077 0 2
      '';
      earlyMounts = "LABEL=store /nix/store erofs ro 0 0\n";
    });
    systemd-boot-xbootldr = mkSystem {
      inherit flavour;
      loader = "systemd-boot";
      esp = "/efi";
      boot = "BOOT";
    };
  };
  systems =
    if packages == null then
      {
        demo = variants "demo";
        tiny = variants "tiny";
      }
    else
      { tiny = { inherit (variants "tiny") none systemd-boot; }; };
in
{
  inherit systems;
  # An output with a link to every system, named FLAVOUR-VARIANT.
  all = run "systems" ./systems.sh {
    systems = builtins.concatStringsSep "\n" (
      builtins.concatMap (
        flavour:
        builtins.map (variant: "${flavour}-${variant} ${systems.${flavour}.${variant}}") (builtins.attrNames systems.${flavour})
      ) (builtins.attrNames systems)
    );
  };
}
