/** The filesystems that a root can be. */
export const ROOT_FILESYSTEMS = ['ext4', 'btrfs', 'xfs', 'f2fs'] as const;
export type RootFilesystem = (typeof ROOT_FILESYSTEMS)[number];

/** GRUB's module that reads each. */
export const GRUB_MODULE: Readonly<Record<RootFilesystem, string>> = {
  ext4: 'ext2',
  btrfs: 'btrfs',
  xfs: 'xfs',
  f2fs: 'f2fs',
};

/** Bytes that the label of each may have. */
export const LABEL_BYTES: Readonly<Record<RootFilesystem, number>> = { ext4: 16, btrfs: 255, xfs: 12, f2fs: 255 };
