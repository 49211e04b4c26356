/** All arguments of nixpkgs' make-disk-image. @see nixos/lib/make-disk-image.nix */
export const MAKE_DISK_IMAGE_OPTIONS = [
  ...['pkgs', 'lib', 'config', 'diskSize', 'additionalSpace', 'bootSize', 'contents', 'partitionTableType'],
  ...['installBootLoader', 'touchEFIVars', 'OVMF', 'efiFirmware', 'efiVariables', 'fsType', 'label', 'configFile'],
  ...['postVM', 'memSize', 'onlyNixStore', 'name', 'baseName', 'format', 'deterministic', 'reproducible'],
  ...['rootGPUID', 'rootFSUID', 'rootFSHashSeed', 'populateRootWith', 'copyChannel', 'additionalPaths'],
];

/** The arguments that only make sense in a Nix expression; nix/make-disk-image.nix has them. */
export const NIX_ONLY = new Set(['pkgs', 'lib', 'config', 'OVMF', 'efiFirmware']);
