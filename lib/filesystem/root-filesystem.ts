import { requireTool } from '../run/tools.ts';

/** The supported types of root filesystems. */
export const ROOT_FILESYSTEMS = ['ext4', 'btrfs', 'xfs', 'f2fs'] as const;
export type RootFilesystem = (typeof ROOT_FILESYSTEMS)[number];

/** GRUB's module for each type. */
export const GRUB_MODULE: Readonly<Record<RootFilesystem, string>> = {
  ext4: 'ext2',
  btrfs: 'btrfs',
  xfs: 'xfs',
  f2fs: 'f2fs',
};

/** The maximum length of a label, in bytes. */
export const LABEL_BYTES: Readonly<Record<RootFilesystem, number>> = { ext4: 16, btrfs: 255, xfs: 12, f2fs: 255 };

/** The programs that make and fill each type. */
export const TOOLS_OF: Readonly<Record<RootFilesystem, readonly string[]>> = {
  ext4: ['mkfs.ext4'],
  btrfs: ['mkfs.btrfs', 'btrfs', 'filefrag', 'find', 'cp', 'unshare', 'fakeroot'],
  xfs: ['mkfs.xfs', 'xfs_db', 'xfs_repair', 'filefrag'],
  f2fs: ['mkfs.f2fs', 'sload.f2fs', 'filefrag', 'find', 'cp', 'unshare', 'fakeroot'],
};

/** Checks that the programs for a type are installed on this host.
 *  @throws {ToolMissingError} with the package to install. */
export async function requireFilesystemTools(step: string, fsType: RootFilesystem): Promise<void> {
  for (const name of TOOLS_OF[fsType]) await requireTool(step, name);
}

/** Options that all types have in common. */
export interface NewFilesystem {
  readonly label: string;
  readonly uuid?: string | undefined;
  /** The sectors of the disk, which a filesystem made in a file cannot ask for. */
  readonly partition: { readonly sectorBytes: number };
}

/** Facts that are read back from a filesystem of any type. */
export interface FilesystemFacts {
  /** Lower case. */
  readonly uuid: string;
  readonly label: string;
  readonly sizeBytes: number;
  /** Undefined if the superblock does not contain it. */
  readonly freeBytes: number | undefined;
  /** The size of its part on this device, if it can have several devices; default: all. */
  readonly deviceBytes?: number;
  /** Damage that keeps a kernel from mounting it, phrased to follow "the filesystem": "has a superblock whose checksum
   *  is wrong". */
  readonly damage?: string | undefined;
}

/** The size of a tree, in units that most filesystems use. */
export interface TreeUsage {
  /** 4 KiB blocks of all files except directories, by apparent size; hard links are counted each time. */
  readonly dataBlocks: number;
  /** Entries of the tree, including its root. */
  readonly inodes: number;
  /** The size of the largest file. */
  readonly largestBytes: number;
  /** The space that the files occupy on this host, and at least in an image. */
  readonly hostBytes: number;
}
