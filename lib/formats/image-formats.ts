/** What images are converted to, and their files' names. */

/** make-disk-image's own formats, followed by the others that qemu-img writes. */
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

/** Formats that are booted and inspected, by QEMU's names. */
export type DiskFormat = Exclude<ImageFormat, 'qcow2-compressed'>;

/** QEMU's name for a format. */
export function driverOf(format: ImageFormat): DiskFormat {
  return format === 'qcow2-compressed' ? 'qcow2' : format;
}

/** Formats whose file may name a backing file, which holds the rest of the content. @see qemu-img(1) create -b */
export const FORMATS_WITH_BACKING: readonly DiskFormat[] = ['qcow2', 'qcow', 'qed', 'vmdk'];

/** A magic number as text of one byte a character. @see each format's specification, and magic(5) */
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
/** In front of a dynamic VHD, and behind every VHD. */
const VHD_MAGIC = 'conectix';

/** What format a disk image has by its magic number; what has none is raw. @param tail its last 512 bytes */
export function detectDiskFormat(head: Buffer, tail: Buffer): DiskFormat {
  const start = head.toString('latin1', 0, 512);
  for (const [at, magic, format] of MAGICS) if (start.startsWith(magic, at)) return format;
  return start.startsWith(VHD_MAGIC) || tail.toString('latin1').startsWith(VHD_MAGIC) ? 'vpc' : 'raw';
}

/** qemu-img writes a VHDX with random identifiers, and their checksums stand in several places of the file. */
export const FORMATS_WITH_RANDOM_IDENTIFIERS: readonly ImageFormat[] = ['vhdx'];

/** make-disk-image's file name endings; that of any other is the format's name. */
const EXTENSIONS: Readonly<Partial<Record<ImageFormat, string>>> = {
  raw: 'img',
  'qcow2-compressed': 'qcow2',
  vpc: 'vhd',
};

/** The file name make-disk-image gives an image: `nixos.img`, `.qcow2`, `.vdi`, `.vhd`, `.vmdk` … */
export function imageFileName(baseName: string, format: ImageFormat): string {
  return `${baseName}.${EXTENSIONS[format] ?? format}`;
}
