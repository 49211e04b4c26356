# Of the evaluated `disko.devices`, what JSON can hold: without disko's own attributes, which begin with an underscore, and without
# functions. For nixos-disk-image build --disko:
#
#   nix eval --json .#nixosConfigurations.HOST.config.disko.devices --apply "$(cat nix/disko.nix)" > disko.json
let
  strip =
    value:
    if builtins.isAttrs value && value ? outPath then
      toString value
    else if builtins.isAttrs value then
      builtins.mapAttrs (_: strip) (
        builtins.removeAttrs value (
          builtins.filter (name: builtins.substring 0 1 name == "_" || builtins.isFunction value.${name}) (builtins.attrNames value)
        )
      )
    else if builtins.isList value then
      map strip value
    else
      value;
in
strip
