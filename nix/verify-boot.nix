# A derivation that boots an image and outputs the report, for the checks of a flake, or for Hydra. It fails if the
# image does not boot.
#
#   import ./nix/verify-boot.nix { inherit pkgs; image = config.system.build.image; }
{
  pkgs,
  lib ? pkgs.lib,
  # A file, or a derivation that contains one image. The derivation may name the file in `filename`
  # (make-disk-image.nix) or `passthru.filePath`.
  image,
  name ? "verify-boot",
  # "bios", "efi" or both; null: the firmware that the image's partition table is for.
  firmware ? null,
  # The system that must be the current one; null: any.
  toplevel ? null,
  # Shell commands that must succeed in the machine.
  checks ? [ ],
  user ? "root",
  password ? null,
  # Whether to log in; false: a login prompt is enough.
  login ? true,
  # In MiB.
  memory ? null,
  # In seconds; null: as long as the boot makes progress.
  timeout ? null,
  # Failures and findings to ignore, by name.
  ignore ? [ ],
  # Further arguments of `nixos-disk-image verify`.
  extraArgs ? [ ],
  # Require a builder with KVM. Without KVM, the processor is emulated.
  kvm ? false,
  qemu ? pkgs.qemu,
  nixos-disk-image ? pkgs.callPackage ./package.nix { },
}:
let
  flag = option: value: lib.optionals (value != null) [ option (toString value) ];
  flags = option: values: lib.concatMap (value: [ option value ]) values;
  arguments =
    lib.optionals (firmware != null) ([ "--firmware" ] ++ lib.toList firmware)
    ++ flag "--toplevel" toplevel
    ++ flags "--check" checks
    ++ [ "--user" user ]
    ++ flag "--password" password
    ++ lib.optional (!login) "--no-login"
    ++ flag "--memory" memory
    ++ flag "--timeout" timeout
    ++ flags "--ignore" ignore
    ++ extraArgs;
  file = image.filename or image.filePath or null;
in
pkgs.runCommand name
  {
    nativeBuildInputs = [
      nixos-disk-image
      qemu
    ];
    requiredSystemFeatures = lib.optional kvm "kvm";
    image = "${image}${lib.optionalString (file != null) "/${file}"}";
    passthru = { inherit image; };
  }
  ''
    export HOME="$NIX_BUILD_TOP"
    if [ -d "$image" ]; then
      files=$(find -L "$image" -type f ! -path '*/nix-support/*' ! -name '*.fd')
      [ -n "$files" ] && [ "$(echo "$files" | wc -l)" = 1 ] || { echo "expected one image in $image, found: $files" >&2; exit 1; }
      image=$files
    fi
    mkdir "$out"
    verify() {
      nixos-disk-image verify "$image" ${lib.escapeShellArgs arguments} \
        --html "$out/report.html" --junit "$out/junit.xml" --log "$out/console.log" --json
    }
    if ! verify > "$out/report.json" < /dev/null; then
      cat "$out"/console*.log "$out/junit.xml" >&2 || true
      echo "the image does not boot correctly: $image" >&2
      exit 1
    fi
    mkdir "$out/nix-support"
    echo "report boot $out report.html" > "$out/nix-support/hydra-build-products"
  ''
