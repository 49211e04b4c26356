import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { ToolMissingError } from './errors.ts';
import { searchPath } from './search-path.ts';

/** A program that this project runs, and the packages that provide it. */
export interface Tool {
  readonly name: string;
  /** The package in Debian. */
  readonly debian: string;
  /** The attribute in nixpkgs. */
  readonly nixpkgs: string;
  /** What uses it besides steps, if anything. Each step declares its own programs. */
  readonly purpose: string | undefined;
  /** Whether most builds work without it. */
  readonly optional: boolean;
  /** Arguments that make it print its version. */
  readonly versionArgs: readonly string[];
}

interface ToolDetails {
  readonly for?: string;
  readonly optional?: true;
  readonly version?: string;
}

const tool = (name: string, debian: string, nixpkgs: string, details: ToolDetails = {}): Tool => {
  const { for: purpose, optional = false, version = '--version' } = details;
  return { name, debian, nixpkgs, purpose, optional, versionArgs: [version] };
};

/** Every program that the project runs on the host, for `doctor`, hints and setup. */
export const TOOLS: readonly Tool[] = [
  tool('rsync', 'rsync', 'rsync'),
  tool('getfattr', 'attr', 'attr'),
  tool('nix', 'nix-bin', 'nix'),
  tool('nix-store', 'nix-bin', 'nix'),
  tool('sqlite3', 'sqlite3', 'sqlite'),
  tool('parted', 'parted', 'parted'),
  tool('sfdisk', 'fdisk', 'util-linux'),
  tool('mkfs.ext4', 'e2fsprogs', 'e2fsprogs', { version: '-V' }),
  tool('mcopy', 'mtools', 'mtools'),
  tool('mmd', 'mtools', 'mtools'),
  tool('mdir', 'mtools', 'mtools'),
  tool('grub-mkimage', 'grub-common', 'grub2'),
  tool('mkswap', 'util-linux', 'util-linux', { optional: true }),
  tool('blkid', 'util-linux', 'util-linux'),
  tool('tesseract', 'tesseract-ocr', 'tesseract', {
    for: 'verify: reading the screen of a silent machine',
    optional: true,
  }),
  tool('filefrag', 'e2fsprogs', 'e2fsprogs', { version: '-V' }),
  tool('mkfs.btrfs', 'btrfs-progs', 'btrfs-progs', { optional: true }),
  tool('btrfs', 'btrfs-progs', 'btrfs-progs', { optional: true }),
  tool('mkfs.xfs', 'xfsprogs', 'xfsprogs', { optional: true, version: '-V' }),
  tool('xfs_db', 'xfsprogs', 'xfsprogs', { optional: true, version: '-V' }),
  tool('xfs_repair', 'xfsprogs', 'xfsprogs', { optional: true, version: '-V' }),
  tool('mkfs.f2fs', 'f2fs-tools', 'f2fs-tools', { optional: true, version: '-V' }),
  tool('sload.f2fs', 'f2fs-tools', 'f2fs-tools', { optional: true, version: '-V' }),
  tool('mkfs.erofs', 'erofs-utils', 'erofs-utils', { optional: true, version: '--help' }),
  tool('fsck.erofs', 'erofs-utils', 'erofs-utils', { optional: true, version: '-V' }),
  tool('mksquashfs', 'squashfs-tools', 'squashfsTools', { optional: true, version: '-version' }),
  tool('fakeroot', 'fakeroot', 'fakeroot', { optional: true }),
  tool('faketime', 'faketime', 'libfaketime', { optional: true }),
  tool('sbsign', 'sbsigntool', 'sbsigntool', { optional: true }),
  tool('sign-efi-sig-list', 'efitools', 'efitools', { optional: true, version: '--help' }),
  tool('cryptsetup', 'cryptsetup-bin', 'cryptsetup', { optional: true }),
  tool('openssl', 'openssl', 'openssl', { optional: true, version: 'version' }),
  tool('tune2fs', 'e2fsprogs', 'e2fsprogs', { version: '-h' }),
  tool('resize2fs', 'e2fsprogs', 'e2fsprogs', { version: '-h' }),
  tool('e2fsck', 'e2fsprogs', 'e2fsprogs', { version: '-V' }),
  tool('mkfs.vfat', 'dosfstools', 'dosfstools', { version: '--help' }),
  tool('flock', 'util-linux', 'util-linux', {
    for: 'every build and boot: locks on private directories and machine slots',
  }),
  tool('fsck.vfat', 'dosfstools', 'dosfstools', { optional: true, version: '--help' }),
  tool('fsck.f2fs', 'f2fs-tools', 'f2fs-tools', { optional: true, version: '-V' }),
  tool('unshare', 'util-linux', 'util-linux'),
  tool('find', 'findutils', 'findutils'),
  tool('qemu-img', 'qemu-utils', 'qemu-utils', { for: 'the private overlay of a boot' }),
  tool('cptofs', 'none in Debian', 'lkl', { optional: true }),
  tool('qemu-system-x86_64', 'qemu-system-x86', 'qemu', { for: 'the builder VM, verify and run' }),
  tool('qemu-system-aarch64', 'qemu-system-arm', 'qemu', {
    for: 'verify and run: images for aarch64',
    optional: true,
  }),
  tool('zstd', 'zstd', 'zstd', { for: 'encrypt: reading what the initrd opens', optional: true }),
  tool('xz', 'xz-utils', 'xz', { for: 'encrypt: reading what the initrd opens', optional: true }),
  tool('swtpm', 'swtpm', 'swtpm', { for: 'verify and run: a TPM for the machine', optional: true }),
  tool('cpio', 'cpio', 'cpio', { for: 'the builder VM: its initrd' }),
  tool('busybox', 'busybox-static', 'pkgsStatic.busybox', { for: 'the builder VM: its userland', version: '--help' }),
  tool('cc', 'gcc', 'gcc', { for: 'the builder VM: its agent' }),
  tool('ldd', 'libc-bin', 'glibc.bin', { for: 'the builder VM: libraries of its tools' }),
];

/** GRUB's modules for each platform, which are files, not programs. */
const GRUB_PLATFORMS: Readonly<Record<string, { readonly debian: string; readonly nixpkgs: string }>> = {
  'i386-pc': { debian: 'grub-pc-bin', nixpkgs: 'grub2' },
  'x86_64-efi': { debian: 'grub-efi-amd64-bin', nixpkgs: 'grub2_efi' },
  'i386-efi': { debian: 'grub-efi-ia32-bin', nixpkgs: 'pkgsi686Linux.grub2_efi' },
  'arm64-efi': { debian: 'grub-efi-arm64-bin', nixpkgs: 'pkgsCross.aarch64-multiplatform.grub2_efi' },
};

/** A hint that names the package to install for a program. */
export function packageHint(name: string): string {
  const known = TOOLS.find((candidate) => candidate.name === name) ?? GRUB_PLATFORMS[name];
  if (known === undefined) return `${name} is not on the PATH (${searchPath()})`;
  if (known.debian.startsWith('none')) return `install it from nixpkgs (${known.nixpkgs}); Debian has no package`;
  return `install it: apt-get install ${known.debian} (Debian), or nix-shell -p ${known.nixpkgs} (Nix)`;
}

/** Finds a program on this host. @returns its path, or `undefined` when it is not found. */
export async function findTool(name: string, path = searchPath()): Promise<string | undefined> {
  const candidates = name.includes('/') ? [name] : path.split(delimiter).map((directory) => join(directory, name));
  for (const candidate of candidates) {
    try {
      await access(candidate, constants.X_OK);
      if ((await stat(candidate)).isFile()) return candidate;
    } catch {
      // Not there; the next directory may have it.
    }
  }
  return undefined;
}

/** Like `findTool`, but throws when the program is not found.
 *  @throws {ToolMissingError} with the package to install. */
export async function requireTool(step: string, name: string): Promise<string> {
  const path = await findTool(name);
  if (path === undefined) throw new ToolMissingError(step, name, { hint: packageHint(name) });
  return path;
}
