# The types of filesystems that are only read, with the maximum length of their labels in bytes. The tool has them in
# lib/filesystem/packed-filesystem.ts; test/tool/nix compares the two.
{
  erofs = 16;
  # It has neither a label nor a UUID.
  squashfs = 0;
}
