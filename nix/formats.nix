# The formats of image files: their extension, and whether they are reproducible. The tool has them in
# lib/formats/image-formats.ts; test/tool/nix compares the two.
let
  format = extension: {
    inherit extension;
    isReproducible = true;
  };
in
{
  raw = format "img";
  qcow2 = format "qcow2";
  qcow2-compressed = format "qcow2";
  vdi = format "vdi";
  vpc = format "vhd";
  vmdk = format "vmdk";
  vhdx = format "vhdx" // {
    # qemu-img writes random identifiers.
    isReproducible = false;
  };
  qcow = format "qcow";
  qed = format "qed";
  parallels = format "parallels";
}
