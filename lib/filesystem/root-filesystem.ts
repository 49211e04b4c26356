import { requireTool } from '../run/tools.ts';

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

/** Programs that make and fill each. */
export const TOOLS_OF: Readonly<Record<RootFilesystem, readonly string[]>> = {
  ext4: ['mkfs.ext4'],
  btrfs: ['mkfs.btrfs', 'btrfs', 'filefrag', 'find', 'cp', 'unshare', 'fakeroot'],
  xfs: ['mkfs.xfs', 'xfs_db', 'xfs_repair', 'filefrag'],
  f2fs: ['mkfs.f2fs', 'sload.f2fs', 'filefrag', 'find', 'cp', 'unshare', 'fakeroot'],
};

/** Looks for what a filesystem needs on this host, before anything is made.
 *  @throws {ToolMissingError} with the package to install. */
export async function requireFilesystemTools(step: string, fsType: RootFilesystem): Promise<void> {
  for (const name of TOOLS_OF[fsType]) await requireTool(step, name);
}

/** What is asked of a new filesystem of any kind. */
export interface NewFilesystem {
  readonly label: string;
  readonly uuid?: string | undefined;
}

/** What is read back from any. */
export interface FilesystemFacts {
  /** Lower case. */
  readonly uuid: string;
  readonly label: string;
  readonly sizeBytes: number;
  /** Undefined where the superblock does not tell. */
  readonly freeBytes: number | undefined;
  /** What of it is on this device, where it may have several; default: all. */
  readonly deviceBytes?: number;
  /** Why no kernel mounts it, as what follows "the filesystem": "has a superblock whose checksum is wrong". */
  readonly damage?: string | undefined;
}

/** What a tree takes, in the units of most filesystems. */
export interface TreeUsage {
  /** 4 KiB blocks of every non-directory by apparent size; hard links are counted each time. */
  readonly dataBlocks: number;
  /** Entries of the tree, its root included. */
  readonly inodes: number;
  /** Bytes of the largest file. */
  readonly largestBytes: number;
  /** Bytes that the files occupy on this host: at least so much they occupy in an image. */
  readonly hostBytes: number;
}
