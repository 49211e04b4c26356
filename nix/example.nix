# The system that the flake's check boots.
{ lib, ... }:
{
  boot.loader.systemd-boot.enable = true;
  boot.loader.timeout = 0;
  boot.kernelParams = [ "console=ttyS0" ];
  users.users.root.initialHashedPassword = "";
  system.stateVersion = lib.trivial.release;
}
