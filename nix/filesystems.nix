# The types of root filesystems, with the maximum length of their labels in bytes. The tool has them in
# lib/filesystem/root-filesystem.ts; test/tool/nix compares the two.
{
  ext4 = 16;
  btrfs = 255;
  xfs = 12;
  f2fs = 255;
}
