# The root filesystems, and how many bytes the label of each may have. lib/filesystem/root-filesystem.ts has them for the tool;
# test/tool/nix compares the two.
{
  ext4 = 16;
  btrfs = 255;
  xfs = 12;
  f2fs = 255;
}
