# Where somebody's expression says <nixpkgs/nixos>: a demo system, whatever its configuration.
{ configuration }:
let
  toplevel = (import ../../../../../vm-images/demo { inputs = builtins.getEnv "DEMO"; }).systems.tiny.systemd-boot;
in
{
  config.system = {
    build = { inherit toplevel; };
    nixos = {
      version = "25.11.demo";
      versionSuffix = ".demo";
    };
  };
}
