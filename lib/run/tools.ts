import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { ToolMissingError } from './errors.ts';
import { searchPath } from './search-path.ts';

/** A program the project runs, and where people get it. */
export interface Tool {
  readonly name: string;
  /** Debian's package. */
  readonly debian: string;
  /** The attribute in nixpkgs. */
  readonly nixpkgs: string;
  readonly purpose: string;
  /** Needed only for what `purpose` says; the rest works without. */
  readonly optional?: boolean;
  /** Arguments that make it print its version. */
  readonly versionArgs: readonly string[];
}

const tool = (
  name: string,
  debian: string,
  nixpkgs: string,
  purpose: string,
  versionArgs: readonly string[] = ['--version'],
  optional = false,
): Tool => ({
  name,
  debian,
  nixpkgs,
  purpose,
  versionArgs,
  ...(optional ? { optional } : {}),
});

/** Every program the project runs on the host: one table for `doctor`, for hints and for the set-up. */
export const TOOLS: readonly Tool[] = [
  tool('rsync', 'rsync', 'rsync', 'stageContents, installSystem'),
  tool('getfattr', 'attr', 'attr', 'stageContents: capabilities, ACLs and labels'),
  tool('nix', 'nix-bin', 'nix', 'installSystem: copying a closure, for cptofs'),
  tool('nix-store', 'nix-bin', 'nix', 'installSystem: registering a closure'),
  tool('sqlite3', 'sqlite3', 'sqlite', 'installSystem: the registration times of a reproducible image'),
  tool('parted', 'parted', 'parted', 'partitionDisk'),
  tool('sfdisk', 'fdisk', 'util-linux', 'partitionDisk: fixed identifiers, reading back'),
  tool('mkfs.ext4', 'e2fsprogs', 'e2fsprogs', 'makeFilesystem', ['-V']),
  tool(
    'debugfs',
    'e2fsprogs',
    'e2fsprogs',
    'makeFilesystem: filling it; tuneFilesystem, copyToFilesystem: reading back; inspectImage, diffImages',
    ['-V'],
  ),
  tool('mcopy', 'mtools', 'mtools', 'installSystemdBoot, installGrub: files on a FAT'),
  tool('mmd', 'mtools', 'mtools', 'installSystemdBoot, installGrub: folders on a FAT'),
  tool('mdir', 'mtools', 'mtools', 'installSystemdBoot, installGrub: what a FAT has'),
  tool('grub-mkimage', 'grub-common', 'grub2', "installGrub: GRUB's core image"),
  tool('blkid', 'util-linux', 'util-linux', 'inspectImage, diffImages: filesystems; createEsp'),
  tool(
    'tesseract',
    'tesseract-ocr',
    'tesseract',
    'verify: reading the screen of a silent machine',
    ['--version'],
    true,
  ),
  tool('filefrag', 'e2fsprogs', 'e2fsprogs', 'makeFilesystem: btrfs, xfs, f2fs', ['-V']),
  tool('mkfs.btrfs', 'btrfs-progs', 'btrfs-progs', 'makeFilesystem: btrfs', ['--version'], true),
  tool('btrfs', 'btrfs-progs', 'btrfs-progs', 'makeFilesystem: btrfs', ['--version'], true),
  tool('mkfs.xfs', 'xfsprogs', 'xfsprogs', 'makeFilesystem: xfs', ['-V'], true),
  tool('xfs_db', 'xfsprogs', 'xfsprogs', 'makeFilesystem: xfs', ['-V'], true),
  tool('xfs_repair', 'xfsprogs', 'xfsprogs', 'makeFilesystem: xfs', ['-V'], true),
  tool('mkfs.f2fs', 'f2fs-tools', 'f2fs-tools', 'makeFilesystem: f2fs', ['-V'], true),
  tool('sload.f2fs', 'f2fs-tools', 'f2fs-tools', 'makeFilesystem: f2fs', ['-V'], true),
  tool('fakeroot', 'fakeroot', 'fakeroot', 'makeFilesystem: btrfs, f2fs', ['--version'], true),
  tool('tune2fs', 'e2fsprogs', 'e2fsprogs', 'tuneFilesystem', ['-h']),
  tool('e2fsck', 'e2fsprogs', 'e2fsprogs', 'tuneFilesystem; inspectImage with deep', ['-V']),
  tool('mkfs.vfat', 'dosfstools', 'dosfstools', 'createEsp', ['--help']),
  tool('flock', 'util-linux', 'util-linux', 'every build and boot: locks on private files and places of machines'),
  tool('fsck.vfat', 'dosfstools', 'dosfstools', 'inspectImage with deep', ['--help'], true),
  tool('fsck.f2fs', 'f2fs-tools', 'f2fs-tools', 'inspectImage with deep', ['-V'], true),
  tool('unshare', 'util-linux', 'util-linux', 'nixosEnter; makeFilesystem: btrfs, f2fs'),
  tool('find', 'findutils', 'findutils', 'installGrub'),
  tool('qemu-img', 'qemu-utils', 'qemu-utils', 'convertImage, the private overlay of a boot'),
  tool('cptofs', 'none in Debian', 'lkl', 'copyToFilesystem', ['--version'], true),
  tool('qemu-system-x86_64', 'qemu-system-x86', 'qemu', 'the builder VM, verify and run'),
  tool('qemu-system-aarch64', 'qemu-system-arm', 'qemu', 'verify and run: images for aarch64', ['--version'], true),
  tool('cpio', 'cpio', 'cpio', 'the builder VM: its initrd'),
  tool('busybox', 'busybox-static', 'pkgsStatic.busybox', 'the builder VM: its userland', ['--help']),
  tool('cc', 'gcc', 'gcc', 'the builder VM: its agent'),
  tool('ldd', 'libc-bin', 'glibc.bin', 'the builder VM: libraries of its tools'),
];

/** GRUB's modules for a platform, which are no programs. */
const GRUB_PLATFORMS: Readonly<Record<string, { readonly debian: string; readonly nixpkgs: string }>> = {
  'i386-pc': { debian: 'grub-pc-bin', nixpkgs: 'grub2' },
  'x86_64-efi': { debian: 'grub-efi-amd64-bin', nixpkgs: 'grub2_efi' },
  'i386-efi': { debian: 'grub-efi-ia32-bin', nixpkgs: 'pkgsi686Linux.grub2_efi' },
  'arm64-efi': { debian: 'grub-efi-arm64-bin', nixpkgs: 'pkgsCross.aarch64-multiplatform.grub2_efi' },
};

/** What to install for a program, for the hint of an error. */
export function packageHint(name: string): string {
  const known = TOOLS.find((candidate) => candidate.name === name) ?? GRUB_PLATFORMS[name];
  if (known === undefined) return `${name} is not on the PATH (${searchPath()})`;
  if (known.debian.startsWith('none')) return `it is in nixpkgs (${known.nixpkgs}); there is no Debian package`;
  return `install it: apt-get install ${known.debian} (Debian), or nix-shell -p ${known.nixpkgs} (Nix)`;
}

/** The path of a program on this host; `undefined` when there is none. */
export async function findTool(name: string, path = searchPath()): Promise<string | undefined> {
  const candidates = name.includes('/') ? [name] : path.split(delimiter).map((folder) => join(folder, name));
  for (const candidate of candidates) {
    try {
      await access(candidate, constants.X_OK);
      if ((await stat(candidate)).isFile()) return candidate;
    } catch {
      // Not there; the next folder may have it.
    }
  }
  return undefined;
}

/** As `findTool`, for a program that must be there.
 *  @throws {ToolMissingError} with the package to install. */
export async function requireTool(step: string, name: string): Promise<string> {
  const path = await findTool(name);
  if (path === undefined) throw new ToolMissingError(step, name, { hint: packageHint(name) });
  return path;
}
