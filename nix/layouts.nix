# Properties of make-disk-image's layouts, against which arguments are checked. The complete layouts are in
# lib/formats/layouts.ts; test/tool/nix compares the two.
{
  legacy = {
    bios = true;
    efi = false;
    gpt = false;
    bootSize = false;
    esp = null;
    boot = null;
  };
  "legacy+boot" = {
    bios = true;
    efi = false;
    gpt = false;
    bootSize = true;
    esp = null;
    boot = "/boot";
  };
  "legacy+gpt" = {
    bios = true;
    efi = false;
    gpt = true;
    bootSize = false;
    esp = null;
    boot = null;
  };
  efi = {
    bios = false;
    efi = true;
    gpt = true;
    bootSize = true;
    esp = "/boot";
    boot = "/boot";
  };
  efixbootldr = {
    bios = false;
    efi = true;
    gpt = true;
    bootSize = true;
    esp = "/efi";
    boot = "/boot";
  };
  hybrid = {
    bios = true;
    efi = true;
    gpt = true;
    bootSize = true;
    esp = "/boot";
    boot = "/boot";
  };
  none = {
    bios = false;
    efi = false;
    gpt = false;
    bootSize = false;
    esp = null;
    boot = null;
  };
}
