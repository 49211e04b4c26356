/** Formats of disk images, and their file names. */

/** make-disk-image's formats, followed by other formats that qemu-img writes. */
export const IMAGE_FORMATS = [
  'raw',
  'qcow2',
  'qcow2-compressed',
  'vdi',
  'vpc',
  'vmdk',
  'vhdx',
  'qcow',
  'qed',
  'parallels',
] as const;
export type ImageFormat = (typeof IMAGE_FORMATS)[number];

/** Formats that can be booted and inspected, by QEMU's names. */
export type DiskFormat = Exclude<ImageFormat, 'qcow2-compressed'>;

/** QEMU's name for a format. */
export function driverOf(format: ImageFormat): DiskFormat {
  return format === 'qcow2-compressed' ? 'qcow2' : format;
}

/** Formats that support a backing file, which holds the rest of the content. @see qemu-img(1) create -b */
export const FORMATS_WITH_BACKING: readonly DiskFormat[] = ['qcow2', 'qcow', 'qed', 'vmdk'];

/** Magic numbers, written as latin1 strings. @see each format's specification, and magic(5) */
const MAGICS: readonly (readonly [at: number, magic: string, format: DiskFormat])[] = [
  [0, 'QFI\xfb\0\0\0\x01', 'qcow'],
  [0, 'QFI\xfb', 'qcow2'],
  [0x40, '\x7f\x10\xda\xbe', 'vdi'],
  [0, 'KDMV', 'vmdk'],
  [0, 'vhdxfile', 'vhdx'],
  [0, 'QED\0', 'qed'],
  [0, 'WithoutFreeSpace', 'parallels'],
  [0, 'WithouFreSpacExt', 'parallels'],
];
/** At the start of a dynamic VHD, and in the footer of every VHD. */
const VHD_MAGIC = 'conectix';

/** Detects the format of a disk image by its magic number; raw when it has none. @param tail its last 512 bytes */
export function detectDiskFormat(head: Buffer, tail: Buffer): DiskFormat {
  const start = head.toString('latin1', 0, 512);
  for (const [at, magic, format] of MAGICS) if (start.startsWith(magic, at)) return format;
  return start.startsWith(VHD_MAGIC) || tail.toString('latin1').startsWith(VHD_MAGIC) ? 'vpc' : 'raw';
}

/** Formats in which qemu-img writes random identifiers that this project does not replace: a VHDX has checksums over
 *  them in several places. */
export const FORMATS_WITH_RANDOM_IDENTIFIERS: readonly ImageFormat[] = ['vhdx'];

/** Formats whose disks have the sectors that the virtual machine is configured with. With the others, the program that they
 *  are for expects sectors of 512 bytes. */
export const FORMATS_OF_ANY_SECTORS: readonly ImageFormat[] = ['raw', 'qcow2', 'qcow2-compressed', 'qcow', 'qed'];

/** make-disk-image's file name extensions. For any other format, it is the format's name. */
const EXTENSIONS: Readonly<Partial<Record<ImageFormat, string>>> = {
  raw: 'img',
  'qcow2-compressed': 'qcow2',
  vpc: 'vhd',
};

/** The file name that make-disk-image uses for an image: `nixos.img`, `.qcow2`, `.vdi`, `.vhd`, `.vmdk` … */
export function imageFileName(baseName: string, format: ImageFormat): string {
  return `${baseName}.${EXTENSIONS[format] ?? format}`;
}
