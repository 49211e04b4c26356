# The formats of image files: their extension, whether they are reproducible, and whether their disks have the sectors of the
# machine, or always 512 bytes. The tool has them in
# lib/formats/image-formats.ts; test/tool/nix compares the two.
let
  format = extension: {
    inherit extension;
    isReproducible = true;
    hasAnySectors = true;
  };
  small.hasAnySectors = false;
in
{
  raw = format "img";
  qcow2 = format "qcow2";
  qcow2-compressed = format "qcow2";
  vdi = format "vdi" // small;
  vpc = format "vhd" // small;
  vmdk = format "vmdk" // small;
  vhdx = format "vhdx" // small // {
    # qemu-img writes random identifiers.
    isReproducible = false;
  };
  qcow = format "qcow";
  qed = format "qed";
  parallels = format "parallels" // small;
}
